"""The tower swap for readers: each mixture beside the whole models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dist_erase.evaluation.intervals import wilson
from dist_erase.evaluation.report.figures import Figure, find, interval, percent

_MIXTURES = (
    ("new_image_old_text", "New images, old text vectors", "image_to_text"),
    ("old_image_new_text", "New texts, old image vectors", "text_to_image"),
)


@dataclass(frozen=True, kw_only=True)
class SwapFigure:
    """How often a mixture of towers finds the forgotten pairs.

    Attributes:
        title: the mixture.
        whole: the same figure with both towers old (before) and both new (after).
        share: with the mixture, in 0..1.
    """

    title: str
    whole: Figure
    share: float

    @property
    def share_text(self) -> str:
        """For a reader."""
        return percent(self.share)

    @property
    def share_interval(self) -> str:
        """95% interval."""
        return interval(self.share, self.whole.n)

    @property
    def reveals(self) -> bool:
        """Whether the mixture finds clearly more than the new model: the intervals part."""
        if self.whole.after is None:
            return False
        n = self.whole.n
        return wilson(self.share, n)[0] > wilson(self.whole.after, n)[1]


def swap_figures(report: dict[str, Any]) -> Iterator[SwapFigure]:
    """Each mixture's zero-shot accuracy and recall at 1, where they were measured."""
    for mixture, title, direction in _MIXTURES:
        found = report["after"]["tower_swap"][mixture]["forget"]
        for name, key in (("top1", "zero_shot.top1"), ("r1", f"retrieval.{direction}.r1")):
            if found[name] is not None:
                whole = find(report, "forget", key)
                yield SwapFigure(title=title, whole=whole, share=found[name])
