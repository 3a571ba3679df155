"""What the ranks of a run leave in its folder for whoever started them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dist_erase.errors import InterruptedRunError, StopAsked, UserError
from dist_erase.orchestration.run_folder import FATAL

OUTCOME = "outcome.json"


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
