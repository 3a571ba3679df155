"""Patterns of shard names → the list of tar files, in the order of the patterns."""

from __future__ import annotations

import difflib
import glob
import os
from pathlib import Path

import braceexpand

from dist_erase.errors import UserError

_MEND = "Fix the pattern, or make shards with `dist-erase data build`."


def expand_shards(patterns: str | list[str], *, where: str) -> tuple[str, ...]:
    """Expands braces and globs into absolute paths of existing files.

    Args:
        patterns: one pattern or several; a glob's matches are sorted.
        where: configuration key named in errors.

    Raises:
        UserError: a pattern matches nothing, a shard is listed twice or is not a local path.
    """
    listed = [patterns] if isinstance(patterns, str) else patterns
    shards: list[str] = []
    for pattern in listed:
        shards.extend(_expand(pattern, where))
    if not shards:
        raise UserError(where, "no shards are given.", _MEND)
    if len(set(shards)) < len(shards):
        twice = next(s for s in shards if shards.count(s) > 1)
        raise UserError(where, f"shard `{twice}` is listed twice.", "Name each shard once.")
    return tuple(shards)


def _expand(pattern: str, where: str) -> list[str]:
    if "://" in pattern:
        raise UserError(where, f"`{pattern}` is not a local path.", "Copy the shards to a disk.")
    try:
        names = list(braceexpand.braceexpand(pattern))
    except ValueError:
        raise UserError(where, f"unbalanced braces in `{pattern}`.", _MEND) from None
    found: list[str] = []
    missing: list[str] = []
    for name in names:
        matches = (
            [name] if os.path.isfile(name) else sorted(filter(os.path.isfile, glob.glob(name)))
        )
        found.extend(os.path.abspath(match) for match in matches)
        if not matches:
            missing.append(name)
    if not missing:
        return found
    problem = f"no shard matches `{missing[0]}`"
    if len(names) > 1:
        problem += f" ({len(missing)} of the {len(names)} names of `{pattern}` are missing)"
    raise UserError(where, f"{problem} ({_neighbours(missing[0])}).", _MEND)


def _neighbours(name: str) -> str:
    """What stands where the missing file was looked for."""
    folder = Path(os.path.abspath(name)).parent
    while not folder.is_dir():
        folder = folder.parent
    if folder != Path(os.path.abspath(name)).parent:
        return f"the folder does not exist; {folder} does"
    present = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    similar = difflib.get_close_matches(Path(name).name, present, n=3, cutoff=0.5)
    if not similar:
        return f"looked in {folder}; no similar names there"
    return f"looked in {folder}; similar names there: {', '.join(similar)}"
