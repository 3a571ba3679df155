"""A series of any length as a line of blocks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS = "_.-=+*%#"


class Curve:
    """A series of any length in at most `limit` points, each the mean of equally many values."""

    def __init__(self, limit: int = 512) -> None:
        self._limit = limit
        self._points: list[float] = []
        self._open: list[float] = []
        self._values_per_point = 1

    def add(self, value: float) -> None:
        """Takes the next value."""
        self._open.append(value)
        if len(self._open) == self._values_per_point:
            self._points.append(_mean(self._open))
            self._open = []
        if len(self._points) == self._limit:
            self._points = [_mean(self._points[i : i + 2]) for i in range(0, self._limit, 2)]
            self._values_per_point *= 2

    def sparkline(self, width: int, blocks: str = BLOCKS) -> str:
        """The whole series in `width` characters or fewer; `!` where it is not finite.

        The lowest value is the lowest block, the highest the highest: a course, not a scale.
        """
        points = self._points + ([_mean(self._open)] if self._open else [])
        bins = min(width, len(points))
        edges = [round(i * len(points) / bins) for i in range(bins + 1)] if bins > 0 else [0]
        means = [_mean(points[a:b]) for a, b in itertools.pairwise(edges)]
        finite = [mean for mean in means if math.isfinite(mean)]
        low, span = (min(finite), max(finite) - min(finite)) if finite else (0.0, 0.0)
        top = len(blocks) - 1
        return "".join(
            blocks[round(top * (mean - low) / span) if span else 0] if math.isfinite(mean) else "!"
            for mean in means
        )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
