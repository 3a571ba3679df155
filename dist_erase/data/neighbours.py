"""What stands where a missing shard was looked for: half of a good message."""

from __future__ import annotations

import difflib
import os
from pathlib import Path


def local_neighbours(name: str) -> str:
    """The folder that was looked in, or the nearest that exists, and similar names there."""
    folder = Path(os.path.abspath(name)).parent
    while not folder.is_dir():
        folder = folder.parent
    if folder != Path(os.path.abspath(name)).parent:
        return f"the folder does not exist; {folder} does"
    present = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    return f"looked in {folder}; {similar_names(Path(name).name, present)}"


def similar_names(name: str, present: list[str]) -> str:
    """The names in a folder that a missing one was perhaps meant to be, as a phrase."""
    similar = difflib.get_close_matches(name, present, n=3, cutoff=0.5)
    return f"similar names there: {', '.join(similar)}" if similar else "no similar names there"
