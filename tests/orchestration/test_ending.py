"""How a run ended is left for whoever watches, whatever ended it."""

import json
from pathlib import Path

import pytest

from dist_erase.config.load import load_config
from dist_erase.config.run import RunConfig
from dist_erase.errors import InterruptedRunError, OtherRankFailedError, StopAsked, UserError
from dist_erase.observability.emit import Metrics
from dist_erase.observability.scrape import parse
from dist_erase.observability.snapshot import to_text
from dist_erase.orchestration.again import done_already
from dist_erase.orchestration.ending import Ending, ending, read_ending


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("train.lr", "is 0.", "Raise it."), 2, "train.lr: is 0. Raise it."),
        (
            InterruptedRunError(7, StopAsked("drain", "a drain")),
            75,
            "stopped at step 7 by a drain;",
        ),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
        (OSError(28, "No space left", "/runs/r"), 2, "/runs/r: No space left."),
        (OSError(28, "No space left"), 1, "OSError; its own output has the traceback"),
        (OtherRankFailedError("rank 1 failed", 2), 2, "rank 1 failed"),
        (ZeroDivisionError("ours"), 1, "ZeroDivisionError; its own output has the traceback"),
    ],
)
def test_an_error_is_left_with_its_exit_code_and_goes_on(tmp_path, error, code, message):
    metrics = Metrics(run="seven", role="driver", rank=0)
    with pytest.raises(type(error)), ending(tmp_path, metrics):
        raise error
    left = read_ending(tmp_path)
    assert left.exit_code == code
    assert left.message.startswith(message)
    assert parse(to_text(metrics.registry.collect())).value("run_exit_code") == code


def test_an_ending_that_cannot_be_left_does_not_hide_what_ended_the_run(tmp_path):
    """As on a full disk, which is what the error may be about."""
    metrics = Metrics(run="seven", role="driver", rank=0)
    (tmp_path / "no folder").touch()
    with pytest.raises(UserError), ending(tmp_path / "no folder", metrics):
        raise UserError("train.lr", "is 0.", "Raise it.")
    assert parse(to_text(metrics.registry.collect())).value("run_exit_code") == 2


def test_a_signal_that_met_a_call_of_ray_is_an_interruption(tmp_path):
    stopped = SystemError("returned a result with an exception set")
    stopped.__cause__ = InterruptedRunError(None, StopAsked("sigterm", "SIGTERM"))
    with pytest.raises(SystemError), ending(tmp_path, None):
        raise stopped
    assert read_ending(tmp_path) == Ending(exit_code=75, message=str(stopped.__cause__))


def test_missed_goals_are_left_with_their_words(tmp_path):
    with ending(tmp_path, None) as missed:
        missed += ["forget top-1 is 12.0%, goal below 5.0%", "b"]
    assert read_ending(tmp_path) == Ending(
        exit_code=3, message="goal missed: forget top-1 is 12.0%, goal below 5.0%; goal missed: b"
    )


def test_a_run_that_is_done_says_so(tmp_path):
    with ending(tmp_path, None):
        pass
    assert read_ending(tmp_path) == Ending(exit_code=0, message="done")


def test_what_cannot_be_read_is_no_ending(tmp_path):
    (tmp_path / "end.json").write_text('{"exit_code": ')
    assert read_ending(tmp_path) is None


@pytest.fixture
def quickstart(tmp_path):
    """The run `r` of the quickstart, which ended with a code; the configuration with overrides."""
    file = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
    where = [f"run.dir={tmp_path}", "run.name=r"]
    (tmp_path / "r").mkdir()

    def with_overrides(*overrides):
        return load_config(file, [*where, *overrides], RunConfig).config

    def ended(code):
        stored = {"config": with_overrides().model_dump(mode="json")}
        (tmp_path / "r" / "config.json").write_text(json.dumps(stored))
        (tmp_path / "r" / "end.json").write_text(json.dumps({"exit_code": code, "message": "so"}))
        return ["run", str(file), "--resume-or-start", *where]

    return ended, with_overrides


@pytest.mark.parametrize(("left", "code", "accepting"), [(0, 0, 0), (3, 3, 0)])
def test_a_run_that_is_done_is_not_begun_again(command_line, quickstart, left, code, accepting):
    """Goals that were missed may be accepted, by a launcher that tries again on any code but 0."""
    again = quickstart[0](left)
    said = "this run has ended before: so\n"
    assert command_line(*again)[:2] == (code, said)
    assert command_line(*again, "--accept-missed-goals")[:2] == (accepting, said)


@pytest.mark.parametrize("longer", ["train.max_steps=9999", "train.epochs=99"])
def test_a_run_that_is_done_goes_on_if_it_is_to_be_longer(quickstart, longer):
    ended, with_overrides = quickstart
    ended(3)
    assert done_already(with_overrides("ray.workers=1"))
    assert done_already(with_overrides(longer)) is None


def test_a_run_that_is_done_goes_on_if_it_has_other_goals(quickstart):
    ended, with_overrides = quickstart
    ended(3)
    assert done_already(with_overrides("evaluate.every_steps=9"))
    assert (
        done_already(with_overrides("evaluate.every_steps=9", "stop.retain_drop_above=0.5")) is None
    )


@pytest.mark.parametrize("code", [1, 2, 75, 130])
def test_a_run_that_broke_off_is_not_done(quickstart, code):
    ended, with_overrides = quickstart
    ended(code)
    assert done_already(with_overrides()) is None
