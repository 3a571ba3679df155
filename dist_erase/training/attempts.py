"""How often a run's workers have been started."""

from __future__ import annotations

import shutil
from pathlib import Path

from dist_erase.storage import named

ATTEMPTS = "attempts"  # one line for each start, in the run folder


def replaced(folder: Path) -> Path:
    """Where the run that this one is to replace lies until this one has begun."""
    return folder.with_name(f".{folder.name}.replaced")


def count_attempt(folder: Path) -> int:
    """Notes one more start; gives 1 for the first of this run folder, and so on.

    With the first, the run has begun, and what it replaces goes: a disk may not have room for both.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ATTEMPTS
    with named(path), path.open("a", encoding="utf-8") as stream:
        stream.write("start\n")
    shutil.rmtree(replaced(folder), ignore_errors=True)
    return len(path.read_text(encoding="utf-8").splitlines())
