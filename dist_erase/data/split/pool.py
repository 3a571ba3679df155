"""The pool as the rest of the split sees it: shards, positions, undecoded samples.

A damaged shard ends no split: its whole samples are used, and the others have a reason.

The only module of the split that touches the index and the reader of shards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dist_erase.config.secrets import public
from dist_erase.config.source import SourceConfig
from dist_erase.data.index import index_set
from dist_erase.data.read import RawSample
from dist_erase.data.scan import iterate_raw
from dist_erase.data.scanned import scan_kept
from dist_erase.data.set_index import SetIndex, ShardIndex
from dist_erase.data.source import SourceSettings
from dist_erase.data.summaries import HEADERS
from dist_erase.errors import BadSampleError, UserError


@dataclass(frozen=True, eq=False)
class PoolShard:
    """One shard; it, not the pool, travels to other processes."""

    number: int
    alone: SetIndex  # this shard, or some of its samples

    def __len__(self) -> int:
        return len(self.alone)

    @property
    def path(self) -> str:
        """Absolute path or URL of the tar file, as people may see it."""
        return public(self.alone.shards[0].path)

    @property
    def index(self) -> ShardIndex:
        """Keys and byte ranges of its samples."""
        return self.alone.open(0)

    def key(self, row: int) -> str:
        """A sample's key, a label only."""
        return bytes(self.index.keys[row]).decode(errors="replace")

    def fault(self) -> str:
        """What is wrong with the tar file as a whole; "" = nothing.

        Raises:
            OSError: a read failed.
        """
        summary = self.alone.shards[0].summary
        problem = summary.problem
        if not problem and summary.origin != HEADERS:  # a side file says no more than a count
            kept = self.alone.cache_dir
            problem = str(scan_kept(summary.path, self.alone.source, summary.stat, kept).problem[0])
        if not problem and not summary.count:
            problem = "it holds no sample."
        return problem

    def only(self, rows: NDArray[np.int64]) -> PoolShard:
        """The shard with some of its samples."""
        return PoolShard(self.number, self.alone.only(0, rows))

    def read(self) -> Iterator[RawSample | BadSampleError]:
        """Every sample in order, or why it has none; what lies between them is not read.

        Raises:
            OSError: a read failed.
            UserError: the shard is not what was indexed.
        """
        return (raw for _, raw in iterate_raw(self.alone))


@dataclass(frozen=True, eq=False)
class Pool:
    """All samples; a sample's position is its ordinal over the shards."""

    shards: tuple[PoolShard, ...]
    fingerprint: str

    def __len__(self) -> int:
        return int(self.firsts[-1])

    @cached_property
    def firsts(self) -> NDArray[np.int64]:
        """Position of each shard's first sample, and the number of samples."""
        counts = [len(shard) for shard in self.shards]
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def locate(self, position: int) -> tuple[PoolShard, int]:
        """Position → (shard, row)."""
        number = int(np.searchsorted(self.firsts, position, side="right")) - 1
        return self.shards[number], int(position - self.firsts[number])

    def pick(self, positions: NDArray[np.int64]) -> Iterator[PoolShard]:
        """The shards that hold sorted positions, each with these samples only."""
        cuts = np.searchsorted(positions, self.firsts)
        for shard, start, stop in zip(self.shards, cuts, cuts[1:], strict=False):
            if start < stop:
                yield shard.only(positions[start:stop] - self.firsts[shard.number])

    def sample(self, position: int) -> RawSample:
        """One sample, read alone; raises BadSampleError where the shard is cut off there."""
        return usable(next(next(self.pick(np.array([position]))).read()))


def usable(raw: RawSample | BadSampleError) -> RawSample:
    """A sample of `PoolShard.read`; raises the BadSampleError that stands in its place."""
    if isinstance(raw, BadSampleError):
        raise raw
    return raw


def open_pool(
    source: SourceConfig, *, where: str, cache_dir: Path | None, settings: SourceSettings
) -> Pool:
    """Finds the shards and their samples; nothing but tar headers is read.

    Raises:
        UserError: a shard is missing, none holds a sample or a caption, or `source` takes a part
            of the pool only.
    """
    if source.max_samples is not None:
        raise UserError(where, "a part of a pool cannot be split.", "Leave max_samples null.")
    try:
        index = index_set(
            source, where=where, settings=settings, cache_dir=cache_dir, tolerant=True
        )
    except UserError as error:
        raise UserError(error.where, error.problem, _mend(error.mend, where)) from error
    shards = tuple(PoolShard(number, index.only(number)) for number in range(len(index.shards)))
    return Pool(shards, index.fingerprint)


def _mend(mend: str, where: str) -> str:
    """The index names keys of a configuration, in whose place the split has options or nothing."""
    if "data.max_corrupt_fraction" in mend:
        return "Make or copy the shards again."
    return mend.replace(f"{where}.caption", "--caption")
