"""A whole set in file order: evaluation and the floor pass."""

from __future__ import annotations

from collections.abc import Iterator

from dist_erase.batch import ImageSpec, Samples
from dist_erase.data.captions import CaptionPlan
from dist_erase.data.index import SetIndex
from dist_erase.data.read import BlockCache, BlockReader
from dist_erase.data.sample import Pair, Tokenizer, collate, decode_pair
from dist_erase.errors import BadSampleError, UserError

_BLOCK = 64


def iterate_set(
    index: SetIndex,
    captions: CaptionPlan,
    image: ImageSpec,
    tokenizer: Tokenizer,
    *,
    batch: int,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[Samples]:
    """Yields positions [start, stop) in batches of `batch`, the last one shorter.

    Nothing is random: captions from class numbers use the first template.

    Raises:
        OSError: a read failed.
        UserError: a sample is unusable (a measured set must be whole), or a shard changed.
    """
    reader = BlockReader(index, block=_BLOCK, cache=BlockCache(0))
    end = len(index) if stop is None else min(stop, len(index))
    for first in range(start, end, batch):
        positions = range(first, min(first + batch, end))
        pairs = [_pair(reader, index, position, captions, image) for position in positions]
        yield collate(pairs, tokenizer)


def _pair(
    reader: BlockReader, index: SetIndex, position: int, captions: CaptionPlan, image: ImageSpec
) -> Pair:
    raw = reader.read(position)
    try:
        return decode_pair(raw, position, captions=captions, image=image)
    except BadSampleError as error:
        shard, _, key = index.label(position)
        raise UserError(
            shard,
            f"sample {key} is unusable ({error.reason}: {error.detail}).",
            "Repair or remove it: a set that is read in full must be whole.",
        ) from error
