"""What a report says in words: the answer first, then everything its reader must know.

No verdict: the sentences give figures with their intervals, and name what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from dist_erase.evaluation.report.figures import Figure, accuracy, find, set_title
from dist_erase.evaluation.report.swaps import swap_figures
from dist_erase.evaluation.suite import UNTOUCHED

_HOLDOUTS = ("holdout_association", "holdout_identity")
# How far from the floor the mean similarity of forgotten pairs may end without remark.
_FLOOR_MARGIN = 0.1
_LABELS = {"attention": "Attention", "missing": "Not measured", "fine": "Checked"}


@dataclass(frozen=True, kw_only=True)
class Point:
    """Something that the reader must know, and how to take it."""

    kind: Literal["attention", "missing", "fine"]
    title: str
    text: str

    @property
    def label(self) -> str:
        """The kind in a word or two."""
        return _LABELS[self.kind]


def headline(report: dict[str, Any]) -> tuple[str, str]:
    """What happened to the forget set, and to the rest: a sentence each."""
    return (
        _sentence("Images of the forget set", accuracy(report, "forget")),
        _sentence("Images of the retain set", accuracy(report, "retain")),
    )


def points(report: dict[str, Any]) -> list[Point]:
    """Everything to know before relying on the result; what needs attention comes first."""
    found = [
        *_tower_swap(report),
        *_distance_to_floor(report),
        *_never_read(report),
        *_overlap(report),
        *_missing_sets(report),
        Point(
            kind="missing",
            title="Relearning, quantisation, membership inference",
            text="This version does not measure whether the pairs come back with a little training "
            "or in lower precision, or can be told as former training data.",
        ),
    ]
    return sorted(found, key=lambda point: list(_LABELS).index(point.kind))


def depth(report: dict[str, Any]) -> str:
    """Where the matched similarity of forgotten pairs ended, against the floor."""
    matched, floor = find(report, "forget", "similarity.matched"), report["floor"]
    if matched.after is None:
        return "The similarity of forgotten pairs is not a number."
    if floor is None:
        return "No floor was set."
    side = "above" if matched.after >= floor else "below"
    return (
        f"{abs(matched.after - floor):.3f} {side} the floor of {matched.text(floor)}, the level "
        "of pairs that were never paired."
    )


def over_generalisation(report: dict[str, Any]) -> str:
    """The line that says whether neighbours of the forgotten pairs were looked at."""
    missing = [name for name in _HOLDOUTS if name not in report["n"]]
    if len(missing) == len(_HOLDOUTS):
        return "not measured: no hold-out sets were given"
    measured = (name for name in _HOLDOUTS if name in report["n"])
    lines = [f"{set_title(name)}: {_before_after(accuracy(report, name))}" for name in measured]
    return "; ".join([*lines, *(f"{set_title(name)}: not measured" for name in missing)])


def _sentence(images: str, figure: Figure) -> str:
    recognised = figure.key.startswith("zero_shot")
    verb = "are recognised" if recognised else "find their own caption first"
    return f"{images} {verb} in {figure.after_text} of cases (before: {figure.before_text})."


def _before_after(figure: Figure) -> str:
    title = figure.title[0].lower() + figure.title[1:]
    return f"{title} {figure.before_text} → {figure.after_text} (n = {figure.n:,})"


def _tower_swap(report: dict[str, Any]) -> Iterator[Point]:
    revealing = [swap for swap in swap_figures(report) if swap.reveals]
    if not revealing:
        yield Point(
            kind="fine",
            title="Tower swap",
            text="Stored vectors of the old model do not find clearly more of the forgotten "
            "pairs than the new model does.",
        )
        return
    worst = max(revealing, key=lambda swap: swap.share)
    yield Point(
        kind="attention",
        title="Stored vectors of the old model may still find the forgotten pairs",
        text=f"{worst.title}: {worst.share_text} ({worst.share_interval}), where the new model "
        f"alone finds {worst.whole.after_text}. Compute every stored index of image or text "
        "vectors again with the new model.",
    )


def _distance_to_floor(report: dict[str, Any]) -> Iterator[Point]:
    matched, floor = find(report, "forget", "similarity.matched"), report["floor"]
    if matched.after is None or floor is None or abs(matched.after - floor) <= _FLOOR_MARGIN:
        return
    if matched.after > floor:
        text = f"{depth(report)} The association is weaker, but not at the level aimed at."
    else:
        text = f"{depth(report)} Pairs that are less alike than strangers can be recognised as "
        text += "forgotten, and neighbours are more often harmed."
    yield Point(kind="attention", title="Forgotten pairs are not at the floor", text=text)


def _never_read(report: dict[str, Any]) -> Iterator[Point]:
    unread = report["forget_never_read"]
    if not unread:
        yield Point(kind="fine", title="Forget pairs read", text="All of them, while training.")
        return
    examples = ", ".join(unread[:3]) + (", …" if len(unread) > 3 else "")
    yield Point(
        kind="attention",
        title=f"{len(unread):,} forget pairs were never read",
        text=f"Training did not see {examples}; the removal is incomplete for them.",
    )


def _overlap(report: dict[str, Any]) -> Iterator[Point]:
    count, method = report["overlap"]["count"], report["overlap"]["method"]
    title = "Images in both the forget and the retain set"
    if count is None:
        text = f"They were not counted before the start ({method})."
        yield Point(kind="missing", title=title, text=text)
    elif count:
        text = f"{count:,} retain samples show forget images ({method}): they were retained and "
        yield Point(kind="attention", title=title, text=text + "forgotten at once.")
    else:
        yield Point(kind="fine", title=title, text=f"None found ({method}).")


def _missing_sets(report: dict[str, Any]) -> Iterator[Point]:
    measured = report["n"]
    if any(name not in measured for name in _HOLDOUTS):
        line = over_generalisation(report).removeprefix("not measured: ")
        text = f"{line[0].upper()}{line[1:]}."
        yield Point(kind="missing", title="Over-generalisation", text=text)
    if not any(name.startswith(UNTOUCHED) for name in measured):
        text = "No untouched data sets were given."
        yield Point(kind="missing", title="Damage to other data", text=text)
    if find(report, "forget", "zero_shot.top1").after is None:
        text = "The held-out sets have no class names or no labels."
        yield Point(kind="missing", title="Zero-shot accuracy", text=text)
