"""A whole set in file order: evaluation, the floor pass, the search for shared images."""

from __future__ import annotations

from collections.abc import Iterator

from dist_erase.batch import ImageSpec, Samples
from dist_erase.config.data import MAX_PIXELS
from dist_erase.data.captions import CaptionPlan
from dist_erase.data.read import BlockCache, BlockReader, RawSample
from dist_erase.data.sample import Pair, Tokenizer, collate, decode_pair
from dist_erase.data.set_index import SetIndex
from dist_erase.errors import BadSampleError, UserError

_BLOCK = 64
_AHEAD = 4 * _BLOCK  # positions whose blocks are read in advance, from remote shards
_MAX_NEIGHBOURS = 100


def iterate_raw(
    index: SetIndex, *, start: int = 0, stop: int | None = None
) -> Iterator[tuple[int, RawSample | BadSampleError]]:
    """Yields each position of [start, stop) with its undecoded sample, or why it has none.

    Raises:
        OSError: a read failed.
        UserError: a shard changed.
    """
    reader = BlockReader(index, block=_BLOCK, cache=BlockCache(0))
    end = len(index) if stop is None else min(stop, len(index))
    for position in range(start, end):
        if reader.reads_remote and (position - start) % _BLOCK == 0:
            reader.read_ahead(range(position, min(position + _AHEAD, end), _BLOCK))
        try:
            yield position, reader.read(position)
        except BadSampleError as error:
            yield position, error


def iterate_set(
    index: SetIndex,
    captions: CaptionPlan,
    image: ImageSpec,
    tokenizer: Tokenizer,
    *,
    batch: int,
    start: int = 0,
    stop: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Samples]:
    """Yields positions [start, stop) in batches of `batch`, the last one shorter.

    Nothing is random: captions from class numbers use the first template. In a tolerant set an
    unusable sample has the content of the next usable one, under its own position.

    Raises:
        OSError: a read failed.
        UserError: a sample is unusable and the set not tolerant, or a shard changed.
    """
    reader = BlockReader(index, block=_BLOCK, cache=BlockCache(0))
    end = len(index) if stop is None else min(stop, len(index))
    for first in range(start, end, batch):
        positions = range(first, min(first + batch, end))
        if reader.reads_remote:
            reader.read_ahead(range(first, min(first + batch + _AHEAD, end), _BLOCK))
        pairs = [
            _pair(reader, index, position, captions, image, max_pixels) for position in positions
        ]
        yield collate(pairs, tokenizer)


def _pair(
    reader: BlockReader,
    index: SetIndex,
    position: int,
    captions: CaptionPlan,
    image: ImageSpec,
    max_pixels: int,
) -> Pair:
    candidates = _MAX_NEIGHBOURS if index.tolerant else 1
    for step in range(candidates):
        instead = (position + step) % len(index)
        try:
            raw = reader.read(instead)
            return decode_pair(raw, position, captions=captions, image=image, max_pixels=max_pixels)
        except BadSampleError as error:
            last, fault = instead, error
    shard, _, key = index.label(last)
    raise UserError(
        shard,
        f"sample {key} is unusable ({fault.reason}: {fault.detail}).",
        "Repair or remove it: a set that is read in full must be whole. Of training sets a share "
        "may be unusable, data.max_corrupt_fraction.",
    )
