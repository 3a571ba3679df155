"""Which samples make up the global batch of a step: a pure function, the same for every world size.

For pass p the samples are listed in a random order, and the list is cut into V runs of ⌊N/V⌋, one
for each virtual stream. A stream is the endless chain of its runs; a step takes the next batch/V
samples of each. Rank r of W serves V/W neighbouring streams, so the ranks' parts, concatenated,
are the same global batch for every W that divides V. The state of a run is the step.

A set of at most `window` samples is permuted sample by sample. Of a larger one the blocks (runs of
consecutive samples of one shard, the unit of reading) are permuted, and each stream's run is
shuffled in windows of `window`/V samples: V streams then have about V blocks open, and each block
is read about once. Shuffling the whole list before cutting it, every stream would be in a window
of its own, and every sample would cost the reading of a block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dist_erase.data.draws import BLOCKS, SAMPLES, draw, permutation
from dist_erase.errors import UserError

ORDER_VERSION = 1  # goes into checkpoints; raise it with any change of what `Order` returns
_MAX_AUTO_STREAMS = 256


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
    """

    counts: tuple[int, ...]
    block: int
    window: int
    streams: int
    batch: int
    seed: int
    where: str = "batch"

    def __post_init__(self) -> None:
        if self.batch % self.streams:
            raise ValueError(f"{self.streams} streams do not divide the batch {self.batch}")
        if self.size < self.batch:
            raise UserError(
                self.where,
                f"a batch of {self.batch} does not fit a set of {self.size} samples.",
                f"Set {self.where} to {self.size} or less, or give more samples.",
            )

    @property
    def size(self) -> int:
        """Samples in the set."""
        return sum(self.counts)

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
        passes = np.tile(turns // self.run, len(served))
        firsts = np.arange(served.start, served.stop, dtype=np.int64) * self.run
        slots = (firsts[:, None] + turns % self.run).ravel()
        positions = np.empty_like(slots)
        for number in np.unique(passes):
            chosen = passes == number
            positions[chosen] = _pass_positions(self, int(number))[slots[chosen]]
        return Slots(positions=positions, passes=passes, slots=slots)


def share(streams: int, part: int, parts: int) -> range:
    """The streams that part `part` of `parts` equal parts serves."""
    if streams % parts:
        raise ValueError(f"{parts} parts do not divide {streams} streams")
    width = streams // parts
    return range(part * width, (part + 1) * width)


def choose_streams(batch: int, asked: Literal["auto"] | int, *, where: str) -> int:
    """The number of virtual streams of a set.

    Args:
        batch: the set's share of the global batch.
        asked: `data.streams`; auto = the largest divisor of `batch` up to 256.
        where: configuration key of `batch`, named in errors.

    Raises:
        UserError: the number asked for does not divide the batch.
    """
    divisors = [n for n in range(1, min(batch, _MAX_AUTO_STREAMS) + 1) if batch % n == 0]
    if asked == "auto":
        return divisors[-1]
    if asked < 1 or batch % asked:
        raise UserError(
            "data.streams",
            f"{asked} streams do not divide {where} = {batch}.",
            f"Choose auto or one of {_listed(divisors)}.",
        )
    return asked


def allowed_worlds(*orders: Order) -> list[int]:
    """World sizes that serve the same global batches: the common divisors of the streams."""
    common = math.gcd(*(order.streams for order in orders))
    return [n for n in range(1, common + 1) if common % n == 0]


def check_world(world: int, *orders: Order, where: str) -> None:
    """Raises UserError, naming the sizes allowed, when `world` ranks cannot share the streams."""
    allowed = allowed_worlds(*orders)
    if world not in allowed:
        streams = " and ".join(f"{order.streams} of {order.where}" for order in orders)
        raise UserError(
            where,
            f"{world} ranks cannot share the data streams equally ({streams}).",
            f"Choose one of {_listed(allowed)}.",
        )


@lru_cache(maxsize=4)  # two sets, each in at most two passes at a time
def _pass_positions(order: Order, number: int) -> NDArray[np.int64]:
    """The positions that pass `number` gives to the streams, run by run, int64 [V ⌊N/V⌋]."""
    used = order.streams * order.run
    if order.size <= order.window:
        positions = permutation(order.size, order.seed, SAMPLES, number)[:used]
    else:
        width = -(-order.window // order.streams)
        keys = draw(order.seed, SAMPLES, number, np.arange(used, dtype=np.int64))
        listed = _permuted_blocks(order, number)[:used]
        # Sorting by (run, window within the run, draw) shuffles every window at once.
        slots = np.arange(used)
        windows = slots // order.run * order.run + slots % order.run // width
        positions = listed[np.lexsort((keys, windows))]
    positions.flags.writeable = False
    return positions


def _permuted_blocks(order: Order, number: int) -> NDArray[np.int64]:
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
    # Each block's start, repeated, plus a ramp that begins anew at each block.
    ramps = np.arange(order.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    listed: NDArray[np.int64] = np.repeat(starts, sizes) + ramps
    return listed


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
