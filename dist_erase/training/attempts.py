"""How often a run's workers have been started."""

from __future__ import annotations

from pathlib import Path

ATTEMPTS = "attempts"  # one line for each start, in the run folder


def count_attempt(folder: Path) -> int:
    """Notes one more start; gives 1 for the first of this run folder, and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ATTEMPTS
    with path.open("a", encoding="utf-8") as stream:
        stream.write("start\n")
    return len(path.read_text(encoding="utf-8").splitlines())
