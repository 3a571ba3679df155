"""How a run ended, left for whoever watches it: `end.json` and a metric."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dist_erase.errors import (
    EXIT_BUG,
    EXIT_DONE,
    EXIT_GOAL_MISSED,
    EXIT_INTERRUPTED,
    EXIT_STOPPED,
    EXIT_USER_ERROR,
    InterruptedRunError,
    OtherRankFailedError,
    UserError,
    refusal,
)
from dist_erase.observability.emit import Metrics
from dist_erase.orchestration.run_folder import END
from dist_erase.storage import write_json

# What an exit code says where the run's own message is out of reach.
_WORDS = {
    EXIT_DONE: "done",
    EXIT_GOAL_MISSED: "done, but a goal or budget was missed; its report says which",
    EXIT_INTERRUPTED: "interrupted with a checkpoint; continue with --resume",
    EXIT_USER_ERROR: "ended by something that you can mend; its own output says what",
    EXIT_STOPPED: "stopped by Ctrl-C",
    EXIT_BUG: "ended by an error; its own output has the traceback",
}


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run ended: its exit code, and one line in words."""

    exit_code: int
    message: str


def ending_of_code(exit_code: int) -> Ending:
    """An ending of which nothing but the exit code is known."""
    words = _WORDS.get(exit_code, f"ended with exit code {exit_code}")
    return Ending(exit_code=exit_code, message=words)


@contextmanager
def ending(folder: Path, metrics: Metrics | None) -> Iterator[list[str]]:
    """Inside, the run is at work; gives the list that takes the goals it misses.

    Leaves how it ended, also when an error ends it. Claiming the folder again removes that.
    """
    missed: list[str] = []
    try:
        yield missed
    except BaseException as error:
        with suppress(OSError):  # a full disk is what the error may be about
            _leave(folder, metrics, _ending_of(error))
        raise
    words = "; ".join(f"goal missed: {goal}" for goal in missed)
    code = EXIT_GOAL_MISSED if missed else EXIT_DONE
    _leave(folder, metrics, Ending(exit_code=code, message=words or "done"))


def read_ending(folder: Path) -> Ending | None:
    """How the run in this folder ended; None while it runs, or if nobody could say."""
    try:
        left = json.loads((folder / END).read_text(encoding="utf-8"))
        return Ending(exit_code=int(left["exit_code"]), message=str(left["message"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _ending_of(error: BaseException) -> Ending:
    match error:
        case UserError():
            return Ending(exit_code=EXIT_USER_ERROR, message=str(error))
        case InterruptedRunError():
            return Ending(exit_code=EXIT_INTERRUPTED, message=str(error))
        case SystemError(__cause__=InterruptedRunError() as cause):  # a signal that met Ray
            return Ending(exit_code=EXIT_INTERRUPTED, message=str(cause))
        case KeyboardInterrupt():
            return Ending(exit_code=EXIT_STOPPED, message="stopped by Ctrl-C")
        case OtherRankFailedError():
            return Ending(exit_code=error.exit_code, message=str(error))
        case OSError() if (words := refusal(error)) is not None:
            return Ending(exit_code=EXIT_USER_ERROR, message=words)
        case _:
            name = type(error).__name__
            return Ending(exit_code=EXIT_BUG, message=f"{name}; its own output has the traceback")


def _leave(folder: Path, metrics: Metrics | None, end: Ending) -> None:
    if metrics is not None:
        metrics.run_exit_code.set(end.exit_code)
    write_json(
        folder / END, {"exit_code": end.exit_code, "message": end.message, "time": time.time()}
    )
