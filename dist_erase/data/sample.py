"""One sample's members → one decoded pair; decoded pairs → `Samples`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dist_erase.batch import ImageSpec, Samples
from dist_erase.config.data import MAX_PIXELS
from dist_erase.data.captions import Caption, CaptionPlan
from dist_erase.data.decode import decode_image
from dist_erase.data.read import RawSample
from dist_erase.data.scan_tar import IMAGE_SUFFIXES
from dist_erase.errors import BadSampleError

Tokenizer = Callable[[list[str]], Tensor]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A decoded sample: image uint8 [H, W, 3], its content's number, its caption."""

    position: int
    image: NDArray[np.uint8]
    image_id: int
    caption: Caption


def image_member(raw: RawSample) -> bytes:
    """The encoded image; raises BadSampleError (`structure`) where there is none."""
    for suffix in IMAGE_SUFFIXES:
        if suffix in raw:
            return bytes(raw[suffix])
    raise BadSampleError("structure", "no image member")


def image_number(encoded: bytes) -> int:
    """The first 8 bytes of the BLAKE2b of an encoded image, signed as int64 is."""
    digest = hashlib.blake2b(encoded, digest_size=64).digest()[:8]
    return int.from_bytes(digest, "little", signed=True)


def decode_pair(
    raw: RawSample,
    position: int,
    *,
    captions: CaptionPlan,
    image: ImageSpec,
    draw: int = 0,
    forbidden: frozenset[int] = frozenset(),
    scaled: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Pair:
    """Decodes a sample; `draw` chooses its caption (0: the first), `scaled` is for training.

    Raises:
        BadSampleError: its content is unusable, or its image is one of `forbidden` (`overlap`).
    """
    encoded = image_member(raw)
    image_id = image_number(encoded)
    if image_id in forbidden:
        raise BadSampleError("overlap", "the image is in the forget set too")
    caption = captions.caption(raw, draw)
    return Pair(
        position=position,
        image=decode_image(encoded, image, scaled=scaled, max_pixels=max_pixels),
        image_id=image_id,
        caption=caption,
    )


def _channels_first(image: NDArray[np.uint8]) -> Tensor:
    """uint8 [H, W, 3] → [3, H, W], copied only if mirrored: torch has no negative strides."""
    image = image.transpose(2, 0, 1)
    return torch.from_numpy(image.copy() if min(image.strides) < 0 else image)


def collate(
    pairs: Sequence[Pair], tokenizer: Tokenizer, *, images: Tensor | None = None
) -> Samples:
    """Puts pairs into tensors, in order; images into `images`, uint8 [n, 3, H, W], if given."""
    return Samples(
        images=torch.stack([_channels_first(pair.image) for pair in pairs], out=images),
        tokens=tokenizer([pair.caption.text for pair in pairs]),
        caption_ids=torch.tensor([pair.caption.caption_id for pair in pairs]),
        image_ids=torch.tensor([pair.image_id for pair in pairs]),
        labels=torch.tensor([pair.caption.label for pair in pairs]),
        positions=torch.tensor([pair.position for pair in pairs]),
    )
