"""The shards of a run's forget sets, also those that are gone and those that an index remembers."""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import braceexpand

from dist_erase.config.run import RunConfig
from dist_erase.data.shards import expand_shards
from dist_erase.data.source import SourceSettings, is_remote, make_source
from dist_erase.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ForgetShards:
    """What caches may hold something of.

    Attributes:
        names: absolute paths and URLs.
        unlisted: patterns of URLs whose store does not say now what they stand for.
    """

    names: tuple[str, ...]
    unlisted: tuple[str, ...]


def forget_shards(config: RunConfig, known: Sequence[str]) -> ForgetShards:
    """Shards of the forget set and its held-out part.

    Args:
        config: the run's, with absolute paths.
        known: shards of any set that an index has kept.
    """
    names: dict[str, None] = {}
    unlisted = []
    for pattern in _patterns(config):
        listed = _listed(pattern, config)
        if listed is None:
            unlisted.append(pattern)
        names |= dict.fromkeys(listed or ())
        names |= dict.fromkeys(path for path in known if _matches(path, pattern))
    return ForgetShards(names=tuple(names), unlisted=tuple(unlisted))


def _patterns(config: RunConfig) -> Iterator[str]:
    """Without braces."""
    for source in (config.data.forget, config.data.eval.forget):
        patterns = [source.shards] if isinstance(source.shards, str) else source.shards
        for pattern in patterns:
            yield from braceexpand.braceexpand(pattern)


def _listed(pattern: str, config: RunConfig) -> list[str] | None:
    """What a pattern stands for; None if nobody can say."""
    if not glob.has_magic(pattern):
        return [pattern]
    if not is_remote(pattern):
        return sorted(glob.glob(pattern))
    try:
        source = make_source(SourceSettings.of(config.data))
        groups = expand_shards(pattern, where="data.forget.shards", source=source)
    except (UserError, OSError):
        return None
    return [shard for group in groups for shard in group]


def _matches(path: str, pattern: str) -> bool:
    if "**" in pattern:
        return fnmatch.fnmatchcase(path, pattern)
    return PurePosixPath(path).match(pattern)
