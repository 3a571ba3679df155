"""How a run ended is left for whoever watches, whatever ended it."""

import pytest

from dist_erase.errors import InterruptedRunError, StopAsked, UserError
from dist_erase.observability.emit import Metrics
from dist_erase.observability.scrape import parse
from dist_erase.observability.snapshot import to_text
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
