"""What is known of every shard before the first block is read: size, version, samples, faults."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from dist_erase.config.secrets import public
from dist_erase.data.scan_tar import DUPLICATE, ScannedShard
from dist_erase.data.scanned import scan_kept
from dist_erase.data.sidecar import count_by_sidecar
from dist_erase.data.source import ShardStat, Source
from dist_erase.data.summaries import HEADERS, ShardSummary, changed, keep_summaries, kept_summaries
from dist_erase.data.workers import ordered_map
from dist_erase.storage import boot_id

Progress = Callable[[int, int], None]  # shards done, shards in all

_THREADS = 16
# Below this many shards to scan, starting processes takes longer than they save.
_ENOUGH_FOR_PROCESSES = 16
_log = logging.getLogger(__name__)


def summarise(
    paths: Sequence[str],
    source: Source,
    *,
    folder: Path | None,
    trust: bool = False,
    headers: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[ShardSummary]:
    """The summary of each shard, in order; what is known and still holds is not read again.

    Args:
        paths: of the shards.
        source: reads them; picklable.
        folder: where summaries and scans are kept; None = nowhere.
        trust: take kept summaries without looking whether shards have changed since (a driver
            has looked a moment ago).
        headers: walk over every shard's headers, whatever side files say.
        workers: processes that walk over headers; None = one per core.
        progress: told how many shards are done.

    Raises:
        OSError: a read failed.
        UserError: a side file makes no sense.
    """
    tell = progress or (lambda done, planned: None)
    kept = {} if folder is None else kept_summaries(folder, paths)
    if trust and all(path in kept for path in paths):
        return [kept[path] for path in paths]
    with ThreadPoolExecutor(_THREADS) as threads:
        stats = list(threads.map(source.stat, paths))
        held = [
            kept[path]
            for path, stat in zip(paths, stats, strict=True)
            if path in kept and kept[path].stat == stat
        ]
        still = threads.map(lambda one: _origin_holds(one, source, headers), held)
        fresh = {one.path: one for one, holds in zip(held, still, strict=True) if holds}
        if stale := changed(kept, paths, stats):
            _log.warning(
                "%d shards have changed and are read anew, first %s", len(stale), public(stale[0])
            )
        todo = [(p, s) for p, s in zip(paths, stats, strict=True) if p not in fresh]
        found = dict(fresh)
        tell(len(found), len(paths))
        walks = []
        counted = threads.map(
            lambda job: None if headers else count_by_sidecar(job[0], source), todo
        )
        for (path, stat), by_file in zip(todo, counted, strict=True):
            if by_file is None:
                walks.append((path, stat))
                continue
            found[path] = ShardSummary(
                path=path,
                size=stat.size,
                version=stat.version,
                count=by_file.count,
                origin=by_file.origin,
                origin_version=by_file.version,
                machine=boot_id(),
                members={},
            )
            tell(len(found), len(paths))
    for summary in _walk(walks, source, folder, workers):
        found[summary.path] = summary
        tell(len(found), len(paths))
    summaries = [found[path] for path in paths]
    if folder is not None and todo:
        keep_summaries(folder, paths, summaries)
    return summaries


def _origin_holds(summary: ShardSummary, source: Source, headers: bool) -> bool:
    """Whether the side file that a count comes from is still what it was."""
    if summary.origin == HEADERS:
        return True
    try:
        return not headers and source.stat(summary.origin).version == summary.origin_version
    except OSError:
        return False


def _walk(
    shards: list[tuple[str, ShardStat]],
    source: Source,
    folder: Path | None,
    workers: int | None,
) -> Iterator[ShardSummary]:
    """Reads the headers of shards; each scan is kept as soon as it is done."""
    processes = min(workers or os.cpu_count() or 1, len(shards))
    alone = processes < 2 or len(shards) < _ENOUGH_FOR_PROCESSES
    jobs = [(path, stat, source, folder) for path, stat in shards]
    return ordered_map(_walk_one, jobs, workers=0 if alone else processes, preload=__name__)


def _walk_one(job: tuple[str, ShardStat, Source, Path | None]) -> ShardSummary:
    path, stat, source, folder = job
    return _summary(path, stat, scan_kept(path, source, stat, folder))


def _content(scanned: ScannedShard) -> str:
    digest = hashlib.blake2b(b"\n".join(scanned.keys.tolist()), digest_size=16)
    for column in (scanned.image_starts, scanned.image_sizes, scanned.ends):
        digest.update(column.tobytes())
    return digest.hexdigest()


def _summary(path: str, stat: ShardStat, scanned: ScannedShard) -> ShardSummary:
    def key(row: int) -> str:
        return bytes(scanned.keys[row]).decode(errors="replace")

    twice = np.flatnonzero(scanned.faults == DUPLICATE)
    return ShardSummary(
        path=path,
        size=stat.size,
        version=stat.version,
        count=len(scanned),
        origin=HEADERS,
        machine=boot_id(),
        problem=str(scanned.problem[0]),
        content=_content(scanned),
        duplicate=key(int(twice[0])) if len(twice) else "",
        members={
            str(names): key(int(np.argmax(scanned.codes == code)))
            for code, names in enumerate(scanned.member_sets)
        },
    )
