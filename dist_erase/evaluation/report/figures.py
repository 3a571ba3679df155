"""The report's figures as a flat list: what the table and the page show line by line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from dist_erase.evaluation.intervals import wilson

NOT_MEASURED = "not measured"
_SET_TITLES = {
    "forget": "Forget",
    "retain": "Retain",
    "holdout_association": "Hold-out: other facts",
    "holdout_identity": "Hold-out: other members",
}
_DIRECTIONS = {"image_to_text": "image → text", "text_to_image": "text → image"}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One quantity of one set, before and after.

    Attributes:
        set_name: as in the report.
        key: the quantity's path in the report, without side and set: `zero_shot.top1`.
        title: what it is, for a reader.
        unit: a share of n cases in 0..1, or a cosine in -1..1.
        before: of the original model; None where it was not measured.
        after: of the unlearned one.
        n: cases behind it.
    """

    set_name: str
    key: str
    title: str
    unit: Literal["share", "cosine"]
    before: float | None
    after: float | None
    n: int

    @property
    def change(self) -> str:
        """After minus before, in points or in cosine."""
        if self.before is None or self.after is None:
            return NOT_MEASURED
        difference = self.after - self.before
        if self.unit == "share":
            return f"{_signed(100 * difference, 1)} points"
        return _signed(difference, 3)

    @property
    def before_text(self) -> str:
        """For a reader."""
        return self.text(self.before)

    @property
    def after_text(self) -> str:
        """For a reader."""
        return self.text(self.after)

    @property
    def before_interval(self) -> str:
        """95% interval of a share; empty for other figures."""
        return self._interval(self.before)

    @property
    def after_interval(self) -> str:
        """95% interval of a share; empty for other figures."""
        return self._interval(self.after)

    def text(self, value: float | None) -> str:
        """A value of this figure's unit."""
        if value is None:
            return NOT_MEASURED
        return percent(value) if self.unit == "share" else _minus(f"{value:.3f}")

    def _interval(self, value: float | None) -> str:
        if value is None or self.unit != "share":
            return ""
        return interval(value, self.n)


# Of what a figure is a mean; other figures are means over pairs. Equal queries have equal answers,
# so that an interval over pairs would be too narrow.
_CASES = {"mismatched": "mismatched", "image_to_text": "images", "text_to_image": "captions"}


def figures(report: dict[str, Any]) -> Iterator[Figure]:
    """Every figure of every set, set by set."""
    for name, counts in report["n"].items():
        for task, path, title in _quantities():
            before, after = (_value(report[side][task][name], path) for side in ("before", "after"))
            yield Figure(
                set_name=name,
                key=".".join((task, *path)),
                title=title,
                unit="cosine" if task == "similarity" else "share",
                before=before,
                after=after,
                n=counts[_CASES.get(path[0], "pairs")],
            )


def find(report: dict[str, Any], set_name: str, key: str) -> Figure:
    """The figure of that set and key."""
    return next(f for f in figures(report) if (f.set_name, f.key) == (set_name, key))


def accuracy(report: dict[str, Any], set_name: str) -> Figure:
    """The figure that stands for a set: zero-shot top-1, or without classes recall at 1."""
    zero_shot = find(report, set_name, "zero_shot.top1")
    if zero_shot.after is not None:
        return zero_shot
    return find(report, set_name, "retrieval.image_to_text.r1")


def set_title(name: str) -> str:
    """A set's name for a reader."""
    return _SET_TITLES.get(name, name.replace("untouched/", "Untouched: "))


def percent(share: float) -> str:
    """`0.1234` → `12.3%`."""
    return f"{100 * share:.1f}%"


def interval(share: float, n: int) -> str:
    """The 95% Wilson interval as `0.0–9.6%`."""
    low, high = wilson(share, n)
    return f"{100 * low:.1f}–{100 * high:.1f}%"


def _quantities() -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Task, path below the set, title."""
    yield "zero_shot", ("top1",), "Zero-shot top-1"
    yield "zero_shot", ("top5",), "Zero-shot top-5"
    for direction, arrow in _DIRECTIONS.items():
        for depth in (1, 5, 10):
            yield "retrieval", (direction, f"r{depth}"), f"Recall@{depth} {arrow}"
    yield "similarity", ("matched",), "Similarity, matched"
    yield "similarity", ("mismatched",), "Similarity, mismatched"


def _value(figures_of_set: dict[str, Any] | None, path: tuple[str, ...]) -> float | None:
    value: Any = figures_of_set
    for key in path:
        if value is None:
            return None
        value = value[key]
    return None if value is None else float(value)


def _signed(value: float, digits: int) -> str:
    text = _minus(f"{value:+.{digits}f}")
    return text[1:] if float(text.replace("−", "-")) == 0 else text


def _minus(text: str) -> str:
    return text.replace("-", "−")
