"""Which samples make up the global batch of a step: a pure function, the same for every world size.

For pass p the samples are listed in a random order, and the list is cut into V runs of ⌊N/V⌋, one
for each virtual stream. A stream is the endless chain of its runs; a step takes the next batch/V
samples of each. Rank r of W serves V/W neighbouring streams, so the ranks' parts, concatenated,
are the same global batch for every W that divides V. The state of a run is the step.

A set of at most `window` samples is permuted sample by sample. Of a larger one the blocks (runs of
consecutive samples of one shard, the unit of reading) are permuted, and each stream's run is
shuffled in windows of `window`/V samples: V streams then have about V blocks open, and each block
is read about once. Shuffling the whole list before cutting it, every stream would be in a window
of its own, and every sample would cost the reading of a block. Of a large set only the blocks are
listed, and the samples of the windows at hand: a step far into a pass costs what the first does.

Where patterns of shards have weights, a pass takes only a share of the lighter ones, other samples
each time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from dist_erase.data.draws import BLOCKS, SAMPLES, SHARE, draw, permutation
from dist_erase.errors import UserError

ORDER_VERSION = 1  # goes into checkpoints; raise it with any change of what `Order` returns


@dataclass(frozen=True, kw_only=True)
class Slots:
    """n places in global batches, each int64 [n].

    Attributes:
        positions: the sample's position in its set.
        passes: the pass that the place belongs to.
        slots: the place's number within that pass; with the pass, it names the place.
    """

    positions: NDArray[np.int64]
    passes: NDArray[np.int64]
    slots: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Order:
    """The order of one set.

    Attributes:
        counts: samples per shard.
        block: samples per block; a shard's last block may be shorter.
        window: samples that are mixed at any time, over all streams; a set of at most this size
            is shuffled whole, 1 = shuffle blocks only.
        streams: V.
        batch: the set's share of the global batch, a multiple of V.
        seed: the run's.
        where: the batch's configuration key, named in errors.
        mix: (shards, share) of each group of neighbouring shards: a pass takes that share of the
            group's samples, above 0 and at most 1; () = everything of all.
    """

    counts: tuple[int, ...]
    block: int
    window: int
    streams: int
    batch: int
    seed: int
    where: str = "batch"
    mix: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        if self.mix and sum(shards for shards, _ in self.mix) != len(self.counts):
            raise ValueError(f"the groups of {self.mix} do not hold {len(self.counts)} shards")
        if self.batch % self.streams:
            raise ValueError(f"{self.streams} streams do not divide the batch {self.batch}")
        if self.size < self.batch:
            raise UserError(
                self.where,
                f"a batch of {self.batch} does not fit a set of {self.size} samples.",
                f"Set {self.where} to {self.size} or less, or give more samples.",
            )

    def __hash__(self) -> int:
        """Cheap, for caches: the counts of a large set are many."""
        return hash((self.size, len(self.counts), self.batch, self.streams, self.seed))

    @cached_property
    def size(self) -> int:
        """Samples that a pass draws from: all of the set, unless patterns have weights."""
        return sum(group.take for group in _groups(self))

    @property
    def run(self) -> int:
        """Samples that a stream takes from one pass."""
        return self.size // self.streams

    @property
    def left_out(self) -> int:
        """Samples that a pass leaves out, fewer than V and others each time."""
        return self.size % self.streams

    @property
    def per_stream(self) -> int:
        """Samples that a step takes from each stream."""
        return self.batch // self.streams

    def passes_after(self, steps: int) -> float:
        """How many passes over the set `steps` steps make."""
        return steps * self.per_stream / self.run

    def steps_for(self, passes: float) -> int:
        """Steps after which `passes` passes are done."""
        return math.ceil(passes * self.run / self.per_stream - 1e-9)

    def at(self, step: int, streams: range | None = None) -> Slots:
        """The samples that `streams` (neighbours; default all) give to the global batch of `step`.

        They are in the order of the batch: by stream, then by turn. With more than one sample a
        stream, a batch may hold the end of one pass and the beginning of the next.
        """
        served = range(self.streams) if streams is None else streams
        turns = step * self.per_stream + np.arange(self.per_stream, dtype=np.int64)
        passes, within = turns // self.run, turns % self.run
        firsts = np.arange(served.start, served.stop, dtype=np.int64) * self.run
        positions = np.empty((len(served), self.per_stream), np.int64)
        windows = within // self._width
        for number, window in dict.fromkeys(zip(passes.tolist(), windows.tolist(), strict=True)):
            chosen = (passes == number) & (windows == window)
            found = _window_positions(self, number, window, served.start, served.stop)
            positions[:, chosen] = found[:, within[chosen] - window * self._width]
        return Slots(
            positions=positions.ravel(),
            passes=np.tile(passes, len(served)),
            slots=(firsts[:, None] + within).ravel(),
        )

    @property
    def whole(self) -> bool:
        """Whether the set is shuffled whole, sample by sample."""
        return self.size <= self.window

    @property
    def _width(self) -> int:
        """Samples of a stream that are shuffled together."""
        if self.whole:
            return self.run
        return -(-self.window // self.streams)


@lru_cache(maxsize=64)
def _window_positions(
    order: Order, number: int, window: int, start: int, stop: int
) -> NDArray[np.int64]:
    """What a window of pass `number` gives to the streams [start, stop), int64 [streams, width]."""
    if order.whole:
        whole = _whole_pass(order, number)
        return whole[start * order.run : stop * order.run].reshape(stop - start, order.run)
    first = window * order._width
    width = min(order._width, order.run - first)
    streams = np.arange(start, stop, dtype=np.int64)[:, None]
    slots = streams * order.run + first + np.arange(width)
    keys = draw(order.seed, SAMPLES, number, slots)
    listed = _listed_positions(_permuted_blocks(order, number), slots)
    return np.take_along_axis(listed, np.argsort(keys, axis=1, kind="stable"), axis=1)


@lru_cache(maxsize=4)  # two sets, each in at most two passes at a time
def _whole_pass(order: Order, number: int) -> NDArray[np.int64]:
    """The positions of a small set in the order of a pass."""
    chosen = permutation(order.size, order.seed, SAMPLES, number)
    if not order.mix:
        return chosen
    parts = [
        group.first + permutation(group.size, order.seed, SHARE, number, index)[: group.take]
        for index, group in enumerate(_groups(order))
    ]
    return np.concatenate(parts)[chosen]


@dataclass(frozen=True)
class _Group:
    """Neighbouring shards: position of the first sample, samples, and how many a pass takes."""

    first: int
    size: int
    take: int


def _groups(order: Order) -> list[_Group]:
    groups, shard, first = [], 0, 0
    for shards, share_of_group in order.mix or ((len(order.counts), 1.0),):
        size = sum(order.counts[shard : shard + shards])
        groups.append(_Group(first, size, max(min(size, 1), round(size * share_of_group))))
        shard, first = shard + shards, first + size
    return groups


@dataclass(frozen=True)
class _Blocks:
    """Blocks in the order of a pass: positions of their first samples, and slots of their ends."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


def _listed_positions(blocks: _Blocks, slots: NDArray[np.int64]) -> NDArray[np.int64]:
    number = np.searchsorted(blocks.ends, slots, side="right")
    begins = np.concatenate([[0], blocks.ends[:-1]])
    listed: NDArray[np.int64] = blocks.starts[number] + slots - begins[number]
    return listed


@lru_cache(maxsize=4)
def _permuted_blocks(order: Order, number: int) -> _Blocks:
    counts = np.asarray(order.counts, np.int64)
    blocks_per_shard = -(-counts // order.block)
    shard_firsts = np.cumsum(counts) - counts
    block_firsts = np.cumsum(blocks_per_shard) - blocks_per_shard
    total = int(blocks_per_shard.sum())
    shard_of_block = np.repeat(np.arange(len(counts)), blocks_per_shard)
    within = np.arange(total) - block_firsts[shard_of_block]
    starts = shard_firsts[shard_of_block] + within * order.block
    sizes = np.minimum(order.block, counts[shard_of_block] - within * order.block)
    chosen = permutation(total, order.seed, BLOCKS, number)
    sizes, starts = sizes[chosen], starts[chosen]
    if order.mix:
        sizes = _cut_to_shares(order, starts, sizes)
    return _Blocks(starts[sizes > 0], np.cumsum(sizes[sizes > 0]))


def _cut_to_shares(
    order: Order, starts: NDArray[np.int64], sizes: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Sizes of the permuted blocks such that each group gives no more than it is to give."""
    groups = _groups(order)
    group_of = np.searchsorted([group.first for group in groups], starts, side="right") - 1
    cut = sizes.copy()
    for index, group in enumerate(groups):
        own = group_of == index
        before = np.cumsum(sizes[own]) - sizes[own]
        cut[own] = np.clip(group.take - before, 0, sizes[own])
    return cut
