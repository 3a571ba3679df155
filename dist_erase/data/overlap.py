"""Images that are in both the forget and the retain set, found by content, never by key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dist_erase.data.sample import image_member, image_number
from dist_erase.data.scan import iterate_raw
from dist_erase.data.set_index import SetIndex
from dist_erase.errors import BadSampleError, UserError

_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class OverlapResult:
    """What is known about shared images before the start.

    Attributes:
        count: retain samples whose image is a forget image; None when not looked for yet.
        examples: up to 5 of them, as (forget SHARD/KEY, retain SHARD/KEY).
        method: how they were, or will be, found; a phrase for the report.
        forget_images: the forget set's image ids when retain samples are to be checked while
            training (`StreamPlan.forbidden_images`), else empty.
    """

    count: int | None
    examples: tuple[tuple[str, str], ...]
    method: str
    forget_images: frozenset[int]


def find_overlap(forget: SetIndex, retain: SetIndex, *, max_bytes: int) -> OverlapResult:
    """Compares the BLAKE2b hashes of the encoded images; nothing is decoded.

    Args:
        forget: one set.
        retain: the other.
        max_bytes: above this size of the retain samples, they are left to be checked while
            training.

    Raises:
        OSError: a read failed.
    """
    positions: dict[int, int] = {}
    for position, image_id in _image_ids(forget):
        positions.setdefault(image_id, position)
    if retain.bytes > max_bytes:
        return OverlapResult(
            count=None,
            examples=(),
            method="BLAKE2b of the encoded images, while training",
            forget_images=frozenset(positions),
        )
    shared = [(i, image_id) for i, image_id in _image_ids(retain) if image_id in positions]
    return OverlapResult(
        count=len(shared),
        examples=tuple(
            (_name(forget, positions[image_id]), _name(retain, i))
            for i, image_id in shared[:_EXAMPLES]
        ),
        method="BLAKE2b of the encoded images, before the start",
        forget_images=frozenset(),
    )


def refuse_overlap(result: OverlapResult) -> None:
    """Raises UserError, with the count and examples, if shared images were found."""
    if result.count:
        listed = "; ".join(f"{a} = {b}" for a, b in result.examples)
        raise UserError(
            "data.retain.shards",
            f"{result.count} retain samples have images of the forget set ({listed}).",
            "Remove them from one of the sets, or set data.allow_overlap=true.",
        )


def _image_ids(index: SetIndex) -> Iterator[tuple[int, int]]:
    """(position, image id) of every sample that has an image."""
    for position, raw in iterate_raw(index):
        if isinstance(raw, BadSampleError):
            continue
        try:
            yield position, image_number(image_member(raw))
        except BadSampleError:
            continue  # met again, and counted, while training


def _name(index: SetIndex, position: int) -> str:
    shard, _, key = index.label(position)
    return f"{shard}/{key}"
