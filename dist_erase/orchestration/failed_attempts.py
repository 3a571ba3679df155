"""Why Ray starts the workers again, as an event of the run: Ray tells it in its own logs only."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray.exceptions import OutOfMemoryError
from ray.train import UserCallback

from dist_erase.errors import in_one_line
from dist_erase.observability.rows import EventRow
from dist_erase.orchestration.lost_contact import says_contact_lost
from dist_erase.orchestration.outcome import user_error
from dist_erase.orchestration.run_folder import ROWS
from dist_erase.storage import append_json_line, end_whole_line, read_json_lines

_LONGEST = 300  # characters of an error


class TellFailures(UserCallback):  # type: ignore[misc]  # Ray ships no types
    """Appends a `failure` event to `metrics.jsonl` when an attempt has failed.

    It lives in the process of Ray Train's controller, while rank 0, which writes the other rows,
    is gone or waits for those that are.

    Args:
        folder: the run folder.
        max_failures: how often the workers are started again (`ray.max_failures`).
    """

    def __init__(self, folder: Path, max_failures: int) -> None:
        self._folder = folder
        self._max = max_failures
        self._failures = 0

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:
        """Ray Train's hook; gets the error of each rank that has one."""
        if user_error(self._folder) is not None:
            return  # a person must mend it: the driver says what, and no attempt follows
        taken = any(
            getattr(_cause(error), "preempted", False) for error in worker_exceptions.values()
        )
        self._failures += not taken
        message = f"{what_failed(worker_exceptions)}; {self._what_follows(taken)}"
        rows = self._folder / ROWS
        with suppress(OSError):  # the next attempt, or the driver, meets the same
            end_whole_line(rows)
            before = read_json_lines(rows)
            step = before[-1]["step"] if before else 0
            row = EventRow(event="failure", step=step, time=time.time(), message=message)
            append_json_line(rows, row)

    def _what_follows(self, taken: bool) -> str:
        if taken:
            return "Ray starts the workers again"
        if self._failures > self._max:
            return f"no restart is left (ray.max_failures={self._max})"
        return f"Ray starts the workers again ({self._failures} of ray.max_failures={self._max})"


def what_failed(errors: Mapping[int, Exception]) -> str:
    """Which ranks failed and how, in words; those that only lost contact where no other is known.

    Args:
        errors: rank -> what Ray Train knows of its end.
    """
    first_hand = {rank: e for rank, e in errors.items() if not says_contact_lost(e)}
    if not first_hand:
        return f"rank {', '.join(map(str, sorted(errors)))} lost contact with another rank"
    return ", ".join(f"rank {rank} {_words(first_hand[rank])}" for rank in sorted(first_hand))


def _cause(error: Exception) -> Exception:
    """Of a rank that did not answer Ray Train, what Ray says of its process."""
    cause: Exception = getattr(error, "health_check_failure", error)
    return cause


def _words(error: Exception) -> str:
    cause = _cause(error)
    if cause is error:
        return f"failed ({in_one_line(error, _LONGEST)})"
    said = str(cause)
    pid, host = (re.search(rf"\b{key}: (\S+)", said) for key in ("pid", "ip"))
    where = f" (pid {pid[1]} on {host[1]})" if pid and host else ""
    if isinstance(cause, OutOfMemoryError) or "OUT_OF_MEMORY" in said:
        return f"was killed{where} because its node was short of memory"
    if getattr(cause, "preempted", False) or "node has died" in said:
        return f"is gone{where} with its node"
    return f"died{where}"
