"""`dist-erase data index`: every shard of a set counted, and all that is known to be wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dist_erase.config.secrets import public
from dist_erase.config.source import SourceConfig
from dist_erase.data.counting import Progress, summarise
from dist_erase.data.index import shard_groups, shard_problem
from dist_erase.data.sidecar import count_by_sidecar
from dist_erase.data.source import Source, SourceSettings, make_source
from dist_erase.data.summaries import HEADERS, ShardSummary, changed, kept_summaries
from dist_erase.errors import UserError

_THREADS = 16
_SIDE_FILES = ("_stats.json", "sizes.json", ".tar.idx", ".idx")


@dataclass(frozen=True, kw_only=True)
class IndexedSet:
    """What is known of a set.

    Attributes:
        name: its configuration key, or its pattern.
        summaries: of its shards, in order.
        changed: shards that are not as they were when they were indexed before.
        faults: what is wrong with shards, in words, one entry for each shard at fault.
        wrong_side_files: side files that disagree with the headers, in words; only looked for
            when headers are walked over.
    """

    name: str
    summaries: tuple[ShardSummary, ...]
    changed: tuple[str, ...]
    faults: tuple[str, ...]
    wrong_side_files: tuple[str, ...]

    @property
    def samples(self) -> int:
        """In all shards."""
        return sum(summary.count for summary in self.summaries)

    @property
    def bytes(self) -> int:
        """Of all shards."""
        return sum(summary.size for summary in self.summaries)

    @property
    def origins(self) -> dict[str, int]:
        """How many shards were counted by their headers, and by each kind of side file."""
        return dict(Counter(_kind(summary.origin) for summary in self.summaries))


def index_shards(
    source: SourceConfig,
    *,
    name: str,
    settings: SourceSettings,
    cache_dir: Path,
    seed: int = 0,
    headers: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> IndexedSet:
    """Counts a whole set and keeps the counts where a run looks for them.

    Args:
        source: patterns and the caption's member; `max_samples` has no effect.
        name: the set's configuration key or pattern, named in errors.
        settings: how shards are read.
        cache_dir: where counts and header scans are kept.
        seed: draws the shards that `max_shards` asks for.
        headers: walk over headers also where a side file says the count, and compare.
        workers: processes that walk; None = one per core.
        progress: told how many shards are done.

    Raises:
        OSError: a read failed.
        UserError: a shard is missing, or a side file makes no sense (unless `headers`).
    """
    reader = make_source(settings)
    groups = shard_groups(source, reader, where=name, seed=seed)
    paths = [path for group in groups for path in group]
    before = kept_summaries(cache_dir, paths)
    summaries = summarise(
        paths, reader, folder=cache_dir, headers=headers, workers=workers, progress=progress
    )
    caption = source.caption.split(":")[0]
    problems = [shard_problem(summary, caption, name) for summary in summaries]
    return IndexedSet(
        name=name,
        summaries=tuple(summaries),
        changed=tuple(map(public, changed(before, paths, [s.stat for s in summaries]))),
        faults=tuple(f"{p.where}: {p.problem}" for p in problems if p is not None),
        wrong_side_files=_disagreeing(summaries, reader) if headers else (),
    )


def _disagreeing(summaries: Sequence[ShardSummary], source: Source) -> tuple[str, ...]:
    # A shard that is cut off has fewer samples than its side file says, rightly.
    whole = [summary for summary in summaries if not summary.problem]
    with ThreadPoolExecutor(_THREADS) as threads:
        found = threads.map(lambda summary: _disagreement(summary, source), whole)
        return tuple(text for text in found if text is not None)


def _disagreement(summary: ShardSummary, source: Source) -> str | None:
    try:
        said = count_by_sidecar(summary.path, source)
    except UserError as error:
        return f"{error.where}: {error.problem}"
    if said is None or said.count == summary.count:
        return None
    shard = public(summary.path)
    return f"{said.origin}: says {said.count:,} samples, {shard} holds {summary.count:,}."


def _kind(origin: str) -> str:
    if origin == HEADERS:
        return HEADERS
    return next(kind for kind in _SIDE_FILES if origin.endswith(kind)).lstrip("._")
