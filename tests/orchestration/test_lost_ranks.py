"""Which errors of a rank mean that others are gone, and what the others learn of its own."""

import json

import pytest

from dist_erase.distributed.context import RankContext
from dist_erase.errors import OtherRankFailedError, UserError
from dist_erase.orchestration.lost_ranks import LostRanksError, contact, words_of_failure
from dist_erase.orchestration.rank_words import Word, on_every_rank


def meet(folder, error):
    with words_of_failure(folder, 1, "--resume goes on"):
        raise error


@pytest.mark.parametrize(
    "said",
    [
        "[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.2]:4711",
        "[../gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 15000ms for recv operation",
        "Read error [10.0.0.2]:4711: Connection timed out",
        "NCCL error in: NCCLUtils.hpp:268, remote process exited or there was a network error, "
        "ncclRemoteError: A call failed possibly due to a network error",
    ],
)
def test_lost_contact_is_told_from_what_the_back_ends_say(tmp_path, monkeypatch, said):
    monkeypatch.setattr("dist_erase.orchestration.lost_ranks._WORD_SECONDS", 0.0)
    with pytest.raises(LostRanksError, match="there is no checkpoint; --resume goes on, also on"):
        meet(tmp_path, RuntimeError(said))
    assert not (tmp_path / "rank_failure.json").exists()


@pytest.mark.parametrize(
    "said",
    [
        "NCCL error in: ProcessGroupNCCL.cpp:1333, invalid usage, ncclInvalidUsage: Duplicate GPU "
        "detected",
        "NCCL error in: NCCLUtils.hpp:77, unhandled cuda error, ncclUnhandledCudaError",
        "DataLoader timed out after 30 seconds",
    ],
)
def test_what_would_fail_again_is_an_error_of_the_ranks_own(tmp_path, said):
    with pytest.raises(RuntimeError, match=said.split()[0]):
        meet(tmp_path, RuntimeError(said))
    left = json.loads((tmp_path / "rank_failure.json").read_text())
    assert left == {"rank": 1, "error": f"RuntimeError: {said}", "exit_code": 1}


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(28, "No space left on device", "/runs/r"), 2, "/runs/r: No space left on device."),
        (OSError(28, "No space left on device"), 1, "OSError: [Errno 28] No space left on device"),
    ],
    ids=["named", "not named"],
)
def test_the_others_end_as_the_rank_that_failed(tmp_path, capsys, monkeypatch, error, code, words):
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(OSError, match="No space left"):
        meet(tmp_path, error)
    word = Word(None)
    with pytest.raises(OtherRankFailedError), word.of_end():
        meet(tmp_path, RuntimeError("Connection closed by peer"))
    assert word.code == code
    trace = "; its own output has the traceback" if code == 1 else ""
    assert capsys.readouterr().err == (
        f"error: rank 0 ends because rank 1 failed ({words}){trace}\n"
    )


def test_the_failure_of_another_is_not_noted_as_ones_own(tmp_path):
    with pytest.raises(OtherRankFailedError):
        meet(tmp_path, OtherRankFailedError("rank 0 failed"))
    assert list(tmp_path.iterdir()) == []


def prepare(folder, error):
    with contact(folder, "the same command starts it again"):
        raise error


def test_before_training_nothing_is_left_in_a_folder_that_may_be_removed(tmp_path, monkeypatch):
    """Left there, it would refuse the next start: a folder that is none of a run."""
    monkeypatch.setattr("dist_erase.orchestration.lost_ranks._WORD_SECONDS", 0.0)
    folder = tmp_path / "gone"
    for error in (RuntimeError("ours"), UserError("a", "b.", "c.")):
        with pytest.raises(type(error)) as caught:
            prepare(folder, error)
        assert caught.value is error
    with pytest.raises(LostRanksError, match="the same command starts it again, also on fewer"):
        prepare(folder, RuntimeError("Connection closed by peer"))
    assert not folder.exists()


@pytest.mark.parametrize("error", [UserError("a", "b.", "c."), MemoryError("ours"), OSError("o")])
def test_a_start_that_fails_is_agreed_on_before_it_is_raised(monkeypatch, error):
    """Whatever it is: the other ranks would wait for half an hour."""
    agreed = []
    monkeypatch.setattr(RankContext, "agree", lambda _, mine: agreed.append(mine) or mine)
    monkeypatch.setattr(
        RankContext, "from_all", lambda _, mine: agreed.append(mine) or [mine, None]
    )

    def fail():
        raise error

    with pytest.raises(type(error)) as caught:
        on_every_rank(RankContext(rank=0, world=2, device=None), fail)
    assert caught.value is error
    assert agreed == [True, ("a", "b.", "c.") if isinstance(error, UserError) else None]


@pytest.mark.parametrize(
    ("told", "kind", "match"),
    [
        (("a", "b.", "c."), UserError, "a: b. c."),
        (None, OtherRankFailedError, "another rank cannot start"),
    ],
)
def test_the_ranks_that_could_start_end_with_the_one_that_could_not(monkeypatch, told, kind, match):
    monkeypatch.setattr(RankContext, "agree", lambda *_: True)
    monkeypatch.setattr(RankContext, "from_all", lambda *_: [told, None])
    with pytest.raises(kind, match=match):
        on_every_rank(RankContext(rank=1, world=2, device=None), lambda: 7)
