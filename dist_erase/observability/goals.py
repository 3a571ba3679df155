"""What forget and retain pairs should come to, and how far they have come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dist_erase.observability.facts import Figures


@dataclass(frozen=True, kw_only=True)
class Found:
    """How many pairs of a set the model still finds.

    Attributes:
        set: `forget` or `retain`; other sets have no goal.
        measure: `top1` or `recall1`.
        now, before: shares, of the newest evaluation and of the original model.
        goal: forget pairs should fall below it, retain pairs not; None = no goal, or not known.
    """

    set: str
    measure: str
    now: float
    before: float | None
    goal: float | None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met now; None without one."""
        if self.goal is None:
            return None
        return self.now < self.goal if self.set == "forget" else self.now >= self.goal


def found(now: Figures, before: Figures, goals: Mapping[str, float | None]) -> list[Found]:
    """The figures that decide, as `training.live_evaluation` judges them.

    Args:
        now: figures as in `EventRow.figures`, of the newest evaluation.
        before: of the original model.
        goals: the `stop` section of the configuration.
    """
    rows = [
        row
        for name in ("forget", "retain")
        if name in now
        for row in _of_set(name, now[name], before.get(name, {}), goals)
    ]
    others = [name for name in now if name not in ("forget", "retain")]
    return rows + [_main(name, now[name], before.get(name, {}), None) for name in sorted(others)]


def found_in_words(now: Figures) -> str:
    """The figures of forget and retain pairs as one line."""
    rows = [_main(name, now[name], {}, None) for name in ("forget", "retain") if name in now]
    return ", ".join(f"{row.set} pairs found {row.now:.1%}" for row in rows)


def _of_set(
    name: str,
    now: Mapping[str, float],
    before: Mapping[str, float],
    goals: Mapping[str, float | None],
) -> list[Found]:
    if name == "retain":
        budget, first = goals.get("retain_drop_above"), _main(name, now, before, None).before
        goal = None if budget is None or first is None else max(0.0, first - budget)
        return [_main(name, now, before, goal)]
    top1_goal, recall_goal = goals.get("forget_top1_below"), goals.get("forget_recall_below")
    if "top1" not in now:
        return [_main(name, now, before, recall_goal)]
    rows = [_main(name, now, before, top1_goal)]
    if recall_goal is not None and "recall1" in now:
        rows.append(_one(name, "recall1", now, before, recall_goal))
    return rows


def _main(
    name: str, now: Mapping[str, float], before: Mapping[str, float], goal: float | None
) -> Found:
    return _one(name, "top1" if "top1" in now else "recall1", now, before, goal)


def _one(
    name: str,
    measure: str,
    now: Mapping[str, float],
    before: Mapping[str, float],
    goal: float | None,
) -> Found:
    return Found(set=name, measure=measure, now=now[measure], before=before.get(measure), goal=goal)
