"""What the ranks of a run leave in its folder for whoever started them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from dist_erase.errors import InterruptedRunError, StopAsked, UserError
from dist_erase.orchestration.run_folder import FATAL
from dist_erase.storage import write_json

OUTCOME = "outcome.json"
_FIRST_SECONDS = 2.0  # that rank 0 has to meet the same error, and leave it


def leave_user_error(folder: Path, error: UserError, *, rank: int) -> bool:
    """Leaves what a person must mend for the driver, and for ranks that wait for this one.

    Returns:
        Whether this rank has to tell of it: rank 0 does if it met the same.
    """
    words = [error.where, error.problem, error.mend]
    deadline = time.monotonic() + _FIRST_SECONDS
    while rank > 0 and time.monotonic() < deadline:
        left = user_error(folder)
        if left is not None and [left.where, left.problem, left.mend] == words:
            return False
        time.sleep(0.1)
    write_json(folder / FATAL, words)
    return True


def user_error(folder: Path) -> UserError | None:
    """What a rank left that a person must mend."""
    path = folder / FATAL
    if not path.exists():
        return None
    where, problem, mend = json.loads(path.read_text(encoding="utf-8"))
    return UserError(where, problem, mend)


def read_outcome(folder: Path) -> dict[str, Any]:
    """What rank 0 left.

    Raises:
        InterruptedRunError: the ranks were asked to stop.
    """
    outcome: dict[str, Any] = json.loads((folder / OUTCOME).read_text(encoding="utf-8"))
    if "interrupted" in outcome:
        step, kind, words = outcome["interrupted"]
        raise InterruptedRunError(step, StopAsked(kind, words))
    return outcome
