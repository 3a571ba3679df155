"""Patterns of shard names → the tar files, in the order of the patterns, one group each."""

from __future__ import annotations

import glob
import os
from collections import Counter

import braceexpand

from dist_erase.config.secrets import public
from dist_erase.config.source import pattern_problem, pipe_problem, runs_a_command
from dist_erase.data.draws import SHARDS, permutation
from dist_erase.data.neighbours import local_neighbours
from dist_erase.data.remote_shards import expand_remote
from dist_erase.data.source import ShardSource, SourceSettings, is_remote, make_source
from dist_erase.data.source.protocol import local_path
from dist_erase.errors import UserError

_MEND = "Fix the pattern, or make shards with `dist-erase data build`."
Groups = tuple[tuple[str, ...], ...]


def expand_shards(
    patterns: str | list[str], *, where: str, source: ShardSource | None = None
) -> Groups:
    """Expands braces and globs into absolute paths and URLs of existing files.

    Args:
        patterns: one pattern or several; a glob's matches are sorted.
        where: configuration key named in errors.
        source: asked about URLs; its next `stat` of each shard found costs nothing. None = one
            with default settings.

    Returns:
        The shards of each pattern.

    Raises:
        UserError: a pattern matches nothing, a shard is listed twice, missing or out of reach, or
            a pattern would run a command.
    """
    listed = [patterns] if isinstance(patterns, str) else patterns
    if any(is_remote(pattern) for pattern in listed) and source is None:
        source = make_source(SourceSettings())
    groups = tuple(tuple(_expand(pattern, where, source)) for pattern in listed)
    shards = [shard for group in groups for shard in group]
    if not shards:
        raise UserError(where, "no shards are given.", _MEND)
    if len(set(shards)) < len(shards):
        twice = next(shard for shard, times in Counter(shards).items() if times > 1)
        raise UserError(where, f"shard `{public(twice)}` is listed twice.", "Name each shard once.")
    return groups


def choose_shards(groups: Groups, max_shards: int | None, seed: int) -> Groups:
    """Draws `max_shards` of all shards by seed; those kept stay in order and in their groups.

    A group may be left empty, so that weights still belong to their patterns.
    """
    total = sum(map(len, groups))
    if max_shards is None or max_shards >= total:
        return groups
    kept = set(permutation(total, seed, SHARDS)[:max_shards].tolist())
    numbers = iter(range(total))
    return tuple(tuple(s for s in group if next(numbers) in kept) for group in groups)


def names_of(pattern: str, where: str) -> list[str]:
    """What the braces of a pattern stand for; raises UserError if they are unbalanced."""
    try:
        return list(braceexpand.braceexpand(pattern))
    except ValueError:
        raise UserError(where, f"unbalanced braces in `{public(pattern)}`.", _MEND) from None


def _expand(pattern: str, where: str, source: ShardSource | None) -> list[str]:
    allow_pipe = source is not None and source.settings.allow_pipe
    refused = pattern_problem(pattern) or (None if allow_pipe else pipe_problem(pattern))
    if refused:
        raise UserError(where, *refused)
    names = names_of(pattern, where)
    if runs_a_command(pattern):
        return names  # whether they give shards shows when they run
    if is_remote(pattern):
        assert source is not None
        return expand_remote(pattern, names, where, source.remote)
    return _expand_local(local_path(pattern), [local_path(name) for name in names], where)


def _expand_local(pattern: str, names: list[str], where: str) -> list[str]:
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
    raise UserError(where, f"{problem} ({local_neighbours(missing[0])}).", _MEND)
