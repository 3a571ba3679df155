"""A block of a shard is a tar stream: webdataset's own expander and grouping behind our reads."""

from __future__ import annotations

import io
import tarfile
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
from webdataset.tariterators import group_by_keys, tar_file_expander

from dist_erase.data.index import SetIndex, ShardIndex
from dist_erase.data.source import LocalSource, Source
from dist_erase.errors import UserError

_OVERHEAD = 100  # bytes that Python spends on a member beside its content
RawSample = dict[str, Any]  # webdataset's: `__key__`, `__url__`, and suffix → bytes


class BlockCache:
    """Parsed blocks, the least recently used ones dropped above `limit` bytes.

    The newest block is always kept, so a limit of 0 means a cache of one block.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._blocks: OrderedDict[Any, tuple[list[RawSample], int]] = OrderedDict()

    def get(self, name: Any) -> list[RawSample] | None:
        """The block, or None; a hit makes it the most recent."""
        if name not in self._blocks:
            return None
        self._blocks.move_to_end(name)
        return self._blocks[name][0]

    def put(self, name: Any, samples: list[RawSample]) -> None:
        """Keeps a block."""
        size = sum(len(value) + _OVERHEAD for sample in samples for value in sample.values())
        self._blocks[name] = (samples, size)
        self._held += size
        while self._held > self._limit and len(self._blocks) > 1:
            _, (_, dropped) = self._blocks.popitem(last=False)
            self._held -= dropped


class BlockReader:
    """Undecoded samples of a set by position.

    Args:
        index: the set.
        block: samples per read.
        cache: may be shared by several readers.
        source: where shards are read from.

    Attributes:
        read_bytes: bytes read so far.
    """

    def __init__(
        self, index: SetIndex, *, block: int, cache: BlockCache, source: Source | None = None
    ) -> None:
        self._index = index
        self._block = block
        self._cache = cache
        self._source = source or LocalSource()
        self.read_bytes = 0

    def read(self, position: int) -> RawSample:
        """One sample.

        Raises:
            OSError: the read failed.
            UserError: the shard is not what was indexed.
        """
        shard_no, row = self._index.locate(position)
        first = row - row % self._block
        name = (id(self._index), shard_no, first)
        samples = self._cache.get(name)
        if samples is None:
            shard = self._index.shards[shard_no]
            rows = slice(first, min(first + self._block, len(shard)))
            parts = self._read_rows(shard, rows)
            samples = _parse(shard, rows, parts)
            self._cache.put(name, samples)
        return samples[row - first]

    def _read_rows(self, shard: ShardIndex, rows: slice) -> list[bytes]:
        parts = []
        for start, stop in _ranges(shard, rows):
            part = self._source.read(shard.path, start, stop)
            if len(part) < stop - start:
                raise _stale(shard, f"it ends before byte {stop}")
            parts.append(part)
            self.read_bytes += len(part)
        return parts


def _ranges(shard: ShardIndex, rows: slice) -> Iterator[tuple[int, int]]:
    """Neighbouring samples are one range; what `max_samples` left out between them is not read."""
    starts, ends = shard.starts[rows], shard.ends[rows]
    cuts = np.flatnonzero(starts[1:] != ends[:-1]) + 1
    firsts = np.concatenate([[0], cuts])
    lasts = np.concatenate([cuts, [len(starts)]]) - 1
    yield from ((int(starts[a]), int(ends[b])) for a, b in zip(firsts, lasts, strict=True))


def _parse(shard: ShardIndex, rows: slice, parts: list[bytes]) -> list[RawSample]:
    streams = ({"url": shard.path, "stream": io.BytesIO(part)} for part in parts)
    try:
        samples: list[RawSample] = list(group_by_keys(tar_file_expander(streams)))
    except (tarfile.TarError, ValueError) as error:
        raise _stale(shard, f"no tar members there: {error.args[0]}") from error
    found = [sample["__key__"].encode() for sample in samples]
    expected = shard.keys[rows].tolist()
    if found != expected:
        raise _stale(shard, f"expected samples {_ends(expected)}, found {_ends(found)}")
    return samples


def _ends(keys: list[bytes]) -> str:
    return f"{keys[0].decode()} to {keys[-1].decode()}" if keys else "none"


def _stale(shard: ShardIndex, problem: str) -> UserError:
    return UserError(
        shard.path,
        f"the shard has changed since it was indexed ({problem}).",
        "Leave shards alone while a run reads them; start again to index the new file.",
    )
