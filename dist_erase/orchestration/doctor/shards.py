"""Whether shards can be read from this machine, and whether the kept index still fits them."""

from __future__ import annotations

import glob
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dist_erase.config.data import named_sources
from dist_erase.config.secrets import public
from dist_erase.config.source import SourceConfig, runs_a_command
from dist_erase.data.shards import choose_shards, names_of
from dist_erase.data.source import ShardSource, SourceSettings, is_remote, make_source
from dist_erase.data.source.protocol import local_path
from dist_erase.data.summaries import ShardSummary, kept_summaries
from dist_erase.errors import UserError
from dist_erase.orchestration.doctor.needs import Config, run_dir
from dist_erase.orchestration.doctor.row import Check, Row, fail, ok, warn
from dist_erase.orchestration.run_folder import INDEX

_LOOKED_AT = 8  # shards of a set, spread over it
_ANSWER_SECONDS = 4.0
_SET_SECONDS = 8.0
_HEADER = 512  # bytes of a tar's header


def shard_checks(config: Config, *, copies: bool = False) -> list[Check]:
    """A check for each set.

    Args:
        config: with absolute paths.
        copies: this is another machine than the one that indexes, so a local shard's time of
            change says nothing, but its size does.
    """
    settings = replace(
        SourceSettings.of(config.data), timeout_seconds=_ANSWER_SECONDS, retries=0, cache_dir=None
    )
    folder = run_dir(config) / INDEX

    def check(where: str, source: SourceConfig) -> Check:
        return Check(
            name=where,
            look=lambda: check_set(
                where, source, settings, folder, seed=config.seed, copies=copies
            ),
            seconds=_SET_SECONDS,
        )

    return [check(where, source) for where, source in named_sources(config.data, "data")]


def check_set(
    where: str,
    source: SourceConfig,
    settings: SourceSettings,
    folder: Path,
    *,
    seed: int = 0,
    copies: bool = False,
) -> Iterator[Row]:
    """Reads the head and the end of a few shards, and compares them with the index in `folder`.

    Raises:
        OSError: a listing failed.
        UserError: a pattern matches nothing.
    """
    reader = make_source(settings)
    patterns = [source.shards] if isinstance(source.shards, str) else source.shards
    if any(runs_a_command(pattern) for pattern in patterns):
        found = "a command writes its shards; doctor runs none"
        yield warn(where, found, "Try it: dist-erase data index CONFIG")
        return
    groups = tuple(tuple(_names(pattern, where, reader)) for pattern in patterns)
    paths = [path for group in choose_shards(groups, source.max_shards, seed) for path in group]
    if not paths:
        raise UserError(f"{where}.shards", "matches no shard.", "Fix the pattern.")
    looked = _spread(paths)
    unreadable = [text for path in looked if (text := _unreadable(path, reader))]
    of = f"{len(looked)} of {len(paths):,} shards"
    if unreadable:
        yield fail(
            where,
            f"{len(unreadable)} of {of} cannot be read, first {unreadable[0]}",
            "Copy or mount the shards on every node under the same path, or mend the address.",
        )
        return
    yield _by_index(where, paths, looked, reader, kept_summaries(folder, paths), copies)


def _by_index(
    where: str,
    paths: Sequence[str],
    looked: Sequence[str],
    reader: ShardSource,
    kept: dict[str, ShardSummary],
    copies: bool,
) -> Row:
    read = f"{len(looked)} of {len(paths):,} shards read"
    if len(kept) < len(paths):
        return warn(
            where,
            f"{read}; not indexed yet: the run counts them first",
            "Count them beforehand: dist-erase data index CONFIG",
        )
    samples = sum(summary.count for summary in kept.values())
    stale = [path for path in looked if _changed(path, kept[path], reader, copies)]
    if not stale:
        return ok(where, f"{read}, as they were indexed ({samples:,} samples)")
    found = f"{read}; {len(stale)} of them have changed since they were indexed, first "
    found += public(stale[0])
    if copies:
        return fail(where, found, "Copy the same files to every node.")
    return warn(where, found, "Index them anew: dist-erase data index CONFIG")


def _changed(path: str, kept: ShardSummary, reader: ShardSource, copies: bool) -> bool:
    stat = reader.stat(path)
    if copies and not is_remote(path):
        return stat.size != kept.size
    return stat != kept.stat


def _names(pattern: str, where: str, reader: ShardSource) -> Iterator[str]:
    """As `expand_shards` names them, without asking for each whether it is there."""
    for name in names_of(pattern, f"{where}.shards"):
        if is_remote(name):
            wild = any(sign in public(name) for sign in "*?[")
            yield from reader.remote.glob(name) if wild else [name]
            continue
        path = str(Path(local_path(name)).absolute())
        matches = sorted(glob.glob(path)) if not Path(path).is_file() else [path]
        if not matches:
            raise UserError(f"{where}.shards", f"no shard matches `{path}`.", "Fix the pattern.")
        yield from matches


def _spread(paths: Sequence[str]) -> list[str]:
    """The first, the last, and some between."""
    if len(paths) <= _LOOKED_AT:
        return list(paths)
    last = len(paths) - 1
    return [paths[round(i * last / (_LOOKED_AT - 1))] for i in range(_LOOKED_AT)]


def _unreadable(path: str, reader: ShardSource) -> str | None:
    """Why, in words; None if its head is a tar's and its end can be read."""
    try:
        size = reader.stat(path).size
        head = reader.read(path, 0, _HEADER)
        end = reader.read(path, max(0, size - _HEADER), size)
    except OSError as error:
        return f"{public(path)}: {error.strerror or error}"
    if len(head) < _HEADER or len(end) < _HEADER:
        return f"{public(path)}: it has only {size} bytes"
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "replace")
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
        return f"{public(path)}: it is empty"
    except tarfile.HeaderError:
        return f"{public(path)}: it is no tar file"
    return None
