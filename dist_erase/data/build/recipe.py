"""What a builder hands to the writer: the items of each set, and how an item becomes a pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

Split = Literal["train", "eval"]
SetName = Literal["forget", "retain"]
Progress = Callable[[str, int, int], None]
"""Called with (what is done, pairs done, pairs planned)."""

Item = TypeVar("Item")
AnyItem = TypeVar("AnyItem", contravariant=True)

Plan = Mapping[tuple[Split, SetName], Sequence[Item]]
"""The items of all four sets, in the order in which their pairs are written."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One image-text pair before it is written.

    Attributes:
        key: unique in the data set, without dots (webdataset splits at the first one).
        image: the encoded image, kept as it is.
        extension: of the image's member, for instance `jpg`.
        caption: not empty.
        label: class number (the .cls member), or None.
        facts: further fields of the .json member.
    """

    key: str
    image: bytes
    extension: str
    caption: str
    label: int | None
    facts: Mapping[str, Any] = field(default_factory=dict)


class Recipe(Protocol[AnyItem]):
    """Makes pairs from items; sent to other processes, and so are the items.

    Equal items must give equal pairs in every process, in this call and in the one that goes on
    after it.
    """

    def image(self, item: AnyItem) -> bytes:
        """The encoded image, once it is sure that it can be used.

        Raises:
            UserError: it cannot.
        """

    def pair(self, item: AnyItem) -> Pair:
        """The pair; whoever calls this has called `image` before, maybe in another process."""

    def stamp(self, item: AnyItem) -> list[int] | None:
        """Numbers that change with the image's file; None = the item holds the image."""
