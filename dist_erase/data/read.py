"""A block of a shard is a tar stream: webdataset's stages behind our reads (see `expand`)."""

from __future__ import annotations

import tarfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from webdataset.tariterators import group_by_keys

from dist_erase.config.secrets import public
from dist_erase.config.source import runs_a_command
from dist_erase.data.expand import expand_block
from dist_erase.data.scan_tar import FAULTS, SOUND, key_bytes
from dist_erase.data.set_index import SetIndex, ShardIndex
from dist_erase.data.source import Source, is_remote
from dist_erase.errors import BadSampleError, UserError

_OVERHEAD = 100  # bytes that Python spends on a member beside its content
# Blocks that wait to be used (they are not counted by the cache), and reads under way at once: a
# store answers in tens of milliseconds.
_BLOCKS_AHEAD = (32, 8)
# A single sample brings little for its request, so more of them are asked for at once: with 50 ms
# an answer, 32 at once bring twice the samples of 8.
_SAMPLES_AHEAD = (256, 32)
RawSample = dict[str, Any]  # webdataset's: `__key__`, `__url__`, and suffix → bytes
Unit = tuple[int, int]  # shard number, first row: what is read at once


class BlockCache:
    """Parsed blocks, the least recently used ones dropped above `limit` bytes.

    The newest block is always kept, so a limit of 0 means a cache of one block.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = 0
        self._blocks: OrderedDict[Any, tuple[list[RawSample | None], int]] = OrderedDict()

    def get(self, name: Any) -> list[RawSample | None] | None:
        """The block, or None; a hit makes it the most recent."""
        if name not in self._blocks:
            return None
        self._blocks.move_to_end(name)
        return self._blocks[name][0]

    def put(self, name: Any, samples: list[RawSample | None]) -> None:
        """Keeps a block."""
        size = sum(
            len(value) + _OVERHEAD
            for sample in samples
            if sample is not None
            for value in sample.values()
        )
        self._blocks[name] = (samples, size)
        self._held += size
        while self._held > self.limit and len(self._blocks) > 1:
            _, (_, dropped) = self._blocks.popitem(last=False)
            self._held -= dropped


class BlockReader:
    """Undecoded samples of a set by position, for one thread.

    Args:
        index: the set.
        block: samples per read at most.
        cache: may be shared by several readers.
        streams: virtual streams that share the cache; each has a block of its own open. Where these
            would not fit side by side, samples are read one by one: within its window a stream
            jumps from one end of its block to the other, so that parts of a block would be read,
            dropped and read again for each few of their samples.
        whole: the set is shuffled whole, so all its blocks are open.
        source: where shards are read from; None = as the index says.

    Attributes:
        read_bytes: bytes read so far.
        queries: samples whose block was looked for in `cache`; `hits`: those found.
    """

    def __init__(
        self,
        index: SetIndex,
        *,
        block: int,
        cache: BlockCache,
        streams: int = 1,
        whole: bool = False,
        source: Source | None = None,
    ) -> None:
        self._index = index
        self._unit = (
            1 if 0 < cache.limit < open_bytes(index, block, streams, whole=whole) else block
        )
        self._cache = cache
        # A pass reads a single sample once. Kept until it is dropped for room, it would only make
        # each next one land in memory that is cold, or new: a tenth of what decoding costs.
        self._keeps = self._unit > 1 or index.bytes <= cache.limit
        self._source = source or index.source
        self._under_way: dict[Unit, Future[tuple[list[RawSample | None], int]]] = {}
        self._threads: ThreadPoolExecutor | None = None
        self.reads_remote = any(is_remote(shard.path) for shard in index.shards)
        self.read_bytes = 0
        self.queries = self.hits = 0

    def read(self, position: int) -> RawSample:
        """One sample.

        Raises:
            BadSampleError: it is cut off or has a member twice.
            OSError: the read failed.
            UserError: the shard is not what was indexed.
        """
        unit, offset = self._unit_of(position)
        found = self._block(unit)[offset]
        if found is None:
            fault = int(self._index.open(unit[0]).faults[unit[1] + offset])
            raise BadSampleError(FAULTS[fault], "the shard's headers say so")
        return found

    def read_ahead(self, positions: Iterable[int]) -> None:
        """Begins to read from remote shards what `positions` will need; errors come with `read`."""
        for unit in dict.fromkeys(self._unit_of(int(position))[0] for position in positions):
            remote = is_remote(self._index.shards[unit[0]].path)
            if not remote or unit in self._under_way or self._cached(unit) is not None:
                continue
            waiting, at_once = _BLOCKS_AHEAD if self._unit > 1 else _SAMPLES_AHEAD
            if len(self._under_way) >= waiting:
                return
            if self._threads is None:
                self._threads = ThreadPoolExecutor(at_once, "read-ahead")
            self._under_way[unit] = self._threads.submit(self._fetch, unit)

    def _unit_of(self, position: int) -> tuple[Unit, int]:
        shard_no, row = self._index.locate(position)
        offset = row % self._unit
        return (shard_no, row - offset), offset

    def _cached(self, unit: Unit) -> list[RawSample | None] | None:
        return self._cache.get((id(self._index), unit))

    def _block(self, unit: Unit) -> list[RawSample | None]:
        samples = self._cached(unit)
        self.queries += 1
        self.hits += samples is not None
        if samples is None:
            fetched = self._under_way.pop(unit, None)
            samples, size = self._fetch(unit) if fetched is None else fetched.result()
            self.read_bytes += size
            if self._keeps:
                self._cache.put((id(self._index), unit), samples)
        return samples

    def _fetch(self, unit: Unit) -> tuple[list[RawSample | None], int]:
        """The unit's samples, None for a faulty one, and the bytes that were read."""
        shard_no, first = unit
        shard = self._index.open(shard_no)
        stop = min(first + self._unit, len(shard))
        samples: list[RawSample | None] = [None] * (stop - first)
        size = 0
        for rows in _ranges(shard, first, stop):
            start, end = int(shard.starts[rows.start]), int(shard.ends[rows.stop - 1])
            data = self._source.read(shard.path, start, end)
            if len(data) < end - start:
                raise _stale(shard, f"it ends before byte {end}")
            samples[rows.start - first : rows.stop - first] = _parse(shard, rows, data)
            size += len(data)
        self._check_version(shard)
        return samples, size

    def _check_version(self, shard: ShardIndex) -> None:
        """Raises UserError if a local file was written since it was opened, even to its size.

        After reading, so that nothing written meanwhile is missed. A remote version costs a
        request: it is asked for when a shard is opened.
        """
        if is_remote(shard.path) or runs_a_command(shard.path):
            return
        if self._index.source.stat(shard.path).version != shard.version:
            raise _stale(shard, "it was written again")


def open_bytes(index: SetIndex, block: int, streams: int, *, whole: bool) -> float:
    """What the open blocks take: one for each stream, never more than the set, `whole`: all."""
    return index.bytes * (1.0 if whole else min(1.0, block * streams / max(1, len(index))))


def _ranges(shard: ShardIndex, first: int, stop: int) -> Iterator[slice]:
    """Rows that lie side by side and have no fault: one read each."""
    rows = np.flatnonzero(shard.faults[first:stop] == SOUND) + first
    if not len(rows):
        return
    apart = (np.diff(rows) > 1) | (shard.starts[rows[1:]] != shard.ends[rows[:-1]])
    cuts = np.flatnonzero(apart) + 1
    for part in np.split(rows, cuts):
        yield slice(int(part[0]), int(part[-1]) + 1)


def _parse(shard: ShardIndex, rows: slice, data: bytes) -> list[RawSample]:
    try:
        samples: list[RawSample] = list(group_by_keys(expand_block(data, shard.path)))
    except (tarfile.TarError, ValueError) as error:
        raise _stale(shard, f"no tar members there: {error.args[0]}") from error
    found = [key_bytes(sample["__key__"]) for sample in samples]
    expected = shard.keys[rows].tolist()
    if found != expected:
        raise _stale(shard, f"expected samples {_ends(expected)}, found {_ends(found)}")
    return samples


def _ends(keys: list[bytes]) -> str:
    if not keys:
        return "none"
    return f"{keys[0].decode(errors='replace')} to {keys[-1].decode(errors='replace')}"


def _stale(shard: ShardIndex, problem: str) -> UserError:
    return UserError(
        public(shard.path),
        f"the shard has changed since it was indexed ({problem}).",
        "Leave shards alone while a run reads them; start again to index the new file.",
    )
