"""How a rank without Ray ends: what it says, how often, and when it is asked to stop."""

import os
import threading

import pytest

from dist_erase.distributed.context import RankContext
from dist_erase.errors import InterruptedRunError, StopAsked, UserError
from dist_erase.orchestration.deepspeed_entry import _finish, main
from dist_erase.orchestration.lost_ranks import LostRanksError
from dist_erase.orchestration.outcome import leave_user_error, user_error
from dist_erase.orchestration.rank_words import Word, from_first, on_every_rank, own_words
from dist_erase.orchestration.signals import SIGTERM, Sigterm
from dist_erase.orchestration.stop_request import request_stop
from dist_erase.storage import write_json

MENDABLE = UserError("data.classes", "is missing.", "Give it.")
LINE = "error: data.classes: is missing. Give it.\n"
GO_ON = "the same command with --resume goes on"


def raises(error):
    raise error


@pytest.fixture
def rank(monkeypatch, tmp_path, capsys):
    """What rank N says of the end of a block, its exit code, and what it leaves for launch.py."""

    def end(number, block):
        monkeypatch.setenv("RANK", str(number))
        at = tmp_path / ".r.end"
        at.unlink(missing_ok=True)
        word = Word(str(at))
        with pytest.raises(Exception), word.of_end():  # noqa: B017, PT011
            block(RankContext(rank=number, world=2, device=None), word)
        return capsys.readouterr().err, word.code, at.read_text() if at.exists() else None

    return end


def test_what_rank_0_finds_it_alone_says(rank, monkeypatch):
    monkeypatch.setattr(RankContext, "from_first", lambda *_: raises(MENDABLE))

    def claim(context, _):
        from_first(context, lambda: None)

    assert rank(0, claim) == (LINE, 2, "2\n")
    assert rank(1, claim) == ("", 2, None)


def test_what_the_system_refuses_rank_0_is_told_by_it_alone(rank, monkeypatch):
    refused = OSError(116, "Stale file handle", "/share")
    monkeypatch.setattr(RankContext, "from_first", lambda *_: raises(refused))

    def claim(context, _):
        from_first(context, lambda: None)

    assert rank(0, claim) == ("error: rank 0: /share: Stale file handle.\n", 2, "2\n")
    assert rank(1, claim) == ("", 2, None)


def test_what_the_system_refuses_another_rank_ends_rank_0_alike(rank, monkeypatch):
    refused = OSError(116, "Stale file handle", "/share")
    told = ("/share", "Stale file handle.", "It is so on another rank's host.")
    monkeypatch.setattr(RankContext, "agree", lambda *_: True)
    monkeypatch.setattr(RankContext, "from_all", lambda *_: [None, told])

    def load(context, _):
        on_every_rank(context, lambda: raises(refused) if context.rank else None)

    assert rank(0, load) == ("", 2, "2\n")
    assert rank(1, load) == ("error: rank 1: /share: Stale file handle.\n", 2, None)


@pytest.mark.parametrize(
    ("left", "told"),
    [(MENDABLE, False), (UserError("data.forget", "is gone.", "Give it."), True), (None, True)],
)
def test_what_rank_0_meets_while_training_no_other_tells_again(tmp_path, left, told):
    if left is not None:
        assert leave_user_error(tmp_path, left, rank=0)
    assert leave_user_error(tmp_path, MENDABLE, rank=1) is told
    assert str(user_error(tmp_path)) == str(MENDABLE)


@pytest.mark.parametrize(("who", "speaks"), [((0, 1), 0), ((1,), 1)])
def test_what_several_find_is_said_by_the_first_of_them(rank, monkeypatch, who, speaks):
    words = ("data.classes", "is missing.", "Give it.")
    monkeypatch.setattr(RankContext, "agree", lambda *_: True)
    told = [words if number in who else None for number in (0, 1)]
    monkeypatch.setattr(RankContext, "from_all", lambda *_: told)

    def load(context, _):
        on_every_rank(context, lambda: raises(MENDABLE) if context.rank in who else None)

    assert rank(0, load) == (LINE if speaks == 0 else "", 2, "2\n")
    assert rank(1, load) == (LINE if speaks == 1 else "", 2, None)


def test_what_a_rank_finds_while_it_trains_the_others_do_not_repeat(rank, tmp_path):
    write_json(tmp_path / "user_error.json", ["data.classes", "is missing.", "Give it."])

    def train(error):
        def block(context, _):
            with own_words(tmp_path, context.rank, GO_ON):
                raise error

        return block

    assert rank(1, train(MENDABLE)) == (LINE, 2, None)
    assert rank(0, train(RuntimeError("Connection closed by peer"))) == ("", 2, "2\n")


def test_a_launcher_that_ends_the_others_does_not_change_what_was_said(rank):
    """torchrun sends SIGTERM to rank 0, which waits for a last scrape, when rank 1 has ended."""

    def cleaned_up(_, word):
        try:
            with word.of_end():
                raise MENDABLE
        finally:
            raise InterruptedRunError(None, SIGTERM)

    assert rank(0, cleaned_up) == (LINE, 2, "2\n")


def test_other_ends(rank):
    stopped = InterruptedRunError(None, SIGTERM, GO_ON)
    said = f"stopped by SIGTERM; {GO_ON}\n"
    assert rank(0, lambda *_: raises(stopped)) == (said, 75, "75\n")
    assert rank(1, lambda *_: raises(stopped)) == ("", 75, None)
    # launch.py counts attempts that lose ranks, by what is in the run folder.
    lost = LostRanksError(None, "closed by peer", GO_ON)
    assert rank(0, lambda *_: raises(lost)) == (f"rank 0: {lost}\n", 75, None)
    assert rank(0, lambda *_: raises(KeyError("bug"))) == ("", None, None)


def test_the_command_leaves_its_exit_code(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("RANK", "0")
    at = tmp_path / ".r.end"
    assert main(["--config", str(tmp_path / "none.yaml"), f"--end-at={at}"]) == 2
    assert at.read_text() == "2\n"
    assert capsys.readouterr().err.count("error: ") == 1


@pytest.mark.parametrize("asked", [SIGTERM, StopAsked("request", "`dist-erase stop`")])
def test_a_stop_that_came_after_the_last_step_is_not_lost(tmp_path, asked):
    request_stop(tmp_path, asked)
    with pytest.raises(InterruptedRunError) as raised:
        _finish(None, tmp_path, None, tmp_path, "cpu")
    assert str(raised.value) == f"stopped by {asked.words}; {GO_ON}"


def test_a_stop_ends_the_measurement_at_once(tmp_path):
    """Which waits here for an outcome that nobody writes."""
    os.mkfifo(tmp_path / "outcome.json")
    later = threading.Timer(
        0.3, request_stop, (tmp_path, StopAsked("request", "`dist-erase stop`"))
    )
    later.start()
    # So that the test would fail, and not hang.
    freed = threading.Timer(20.0, (tmp_path / "outcome.json").write_text, ("{",))
    freed.daemon = True
    freed.start()
    with Sigterm(GO_ON), pytest.raises(InterruptedRunError, match="by `dist-erase stop`; the same"):
        _finish(None, tmp_path, None, tmp_path, "cpu")
    freed.cancel()
