"""Where a run and its index cache hold something of forget pairs: found, not yet touched."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dist_erase.config.run import RunConfig
from dist_erase.data.source import blocks_of, is_remote
from dist_erase.data.summaries import cache_name
from dist_erase.orchestration.evidence import REPORT_HTML, REPORT_JSON
from dist_erase.orchestration.forget_shards import forget_shards
from dist_erase.orchestration.replay_sheet import SHEETS, known_sheets, own_files
from dist_erase.orchestration.report_names import names_in
from dist_erase.orchestration.run_folder import END, FAILURE, FATAL, index_cache
from dist_erase.storage import read_json_lines
from dist_erase.training.account import QUARANTINE

_RAY = "ray"
_LOG_BYTES = 64 * 2**20  # Ray leaves text of this size at most


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """Files that go as a whole.

    Attributes:
        what: they are, in words.
        bytes: of all of them.
    """

    what: str
    files: tuple[Path, ...]
    bytes: int


@dataclass(frozen=True, kw_only=True)
class CachedBlocks:
    """Blocks of remote forget shards in a block cache.

    Attributes:
        folder: of the cache.
        shards: that it holds blocks of.
        count, bytes: of these blocks.
    """

    folder: str
    shards: tuple[str, ...]
    count: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Traces:
    """Everything that derives from forget pairs.

    Attributes:
        folder: the run folder.
        blocks: in the block cache; None = none.
        deletions: files that go, by what they are.
        quarantine: lines of quarantine.jsonl that go, counted by reason.
        reports: files in which names of samples are replaced.
        names: these names.
        ending: whether end.json names a forget shard, and gets words that do not.
        unlisted: patterns of remote shards whose store cannot be asked now.
    """

    folder: Path
    blocks: CachedBlocks | None
    deletions: tuple[Deletion, ...]
    quarantine: dict[str, int]
    reports: tuple[Path, ...]
    names: frozenset[str]
    ending: bool
    unlisted: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to purge."""
        return not (self.blocks or self.deletions or self.quarantine or self.names or self.ending)


def find_traces(config: RunConfig, folder: Path, cache_dir: Path | None = None) -> Traces:
    """Looks through the run folder, the index beside it and the block cache.

    Args:
        config: the run's, with `run.dir` and `run.name` as the folder is now.
        folder: the run folder.
        cache_dir: a block cache; None = the one of the configuration.
    """
    index = index_cache(config)
    listed = {path: _listed(path) for path in index.glob("set-*.json")}
    shards = forget_shards(config, [name for names in listed.values() for name in names])
    deletions = (
        _deletion("images and contact sheets of replayed steps", _sheet_files(folder)),
        _deletion("header scans and counts of forget shards", _scans(index, listed, shards.names)),
        _deletion(
            "messages and logs that name forget shards",
            _naming(
                [folder / FATAL, folder / FAILURE, *_files(folder / _RAY)],
                shards.names,
            ),
        ),
    )
    names = names_in(folder)
    return Traces(
        folder=folder,
        blocks=_blocks(str(cache_dir or config.data.block_cache.dir or ""), shards.names),
        deletions=tuple(one for one in deletions if one.files),
        quarantine=dict(
            Counter(row["reason"] for row in read_json_lines(folder / QUARANTINE) if derives(row))
        ),
        reports=tuple(
            path for path in (folder / REPORT_JSON, folder / REPORT_HTML) if names and path.exists()
        ),
        names=names,
        ending=bool(_naming([folder / END], shards.names)),
        unlisted=shards.unlisted,
    )


def derives(row: dict[str, Any]) -> bool:
    """Whether a quarantined sample is a forget pair, or a retain pair with a forget image."""
    return bool(row["stream"] == "forget" or row["reason"] == "overlap")


def _listed(kept_set: Path) -> list[str]:
    try:
        return [row["path"] for row in json.loads(kept_set.read_text(encoding="utf-8"))["shards"]]
    except (OSError, ValueError, KeyError):
        return []


def _blocks(cache_dir: str, shards: Sequence[str]) -> CachedBlocks | None:
    if not cache_dir:
        return None
    held = {shard: blocks_of(cache_dir, shard) for shard in shards if is_remote(shard)}
    held = {shard: (count, size) for shard, (count, size) in held.items() if count}
    if not held:
        return None
    return CachedBlocks(
        folder=cache_dir,
        shards=tuple(held),
        count=sum(count for count, _ in held.values()),
        bytes=sum(size for _, size in held.values()),
    )


def _scans(index: Path, listed: dict[Path, list[str]], shards: Sequence[str]) -> list[Path]:
    wanted = set(shards)
    sets = [path for path, names in listed.items() if wanted.intersection(names)]
    marks = {cache_name(shard) for shard in shards}
    return sets + [
        path for path in _files(index) if path.name.lstrip(".").partition(".")[0] in marks
    ]


def _naming(candidates: Sequence[Path], shards: Sequence[str]) -> list[Path]:
    names = {form.encode() for shard in shards for form in (shard, json.dumps(shard)[1:-1])}
    return [path for path in candidates if path.is_file() and _mentions(path, names)]


def _mentions(path: Path, names: set[bytes]) -> bool:
    if path.stat().st_size > _LOG_BYTES:
        return False
    content = path.read_bytes()
    return any(name in content for name in names)


def _sheet_files(folder: Path) -> list[Path]:
    files = [file for sheet in known_sheets(folder) for file in own_files(sheet)]
    notes = folder / SHEETS
    return [*files, notes] if notes.exists() else files


def _deletion(what: str, files: Sequence[Path]) -> Deletion:
    return Deletion(
        what=what, files=tuple(files), bytes=sum(os.lstat(path).st_size for path in files)
    )


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
