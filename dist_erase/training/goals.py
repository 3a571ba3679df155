"""How far a run is from its goals and its budget of damage, and when it will be there."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from dist_erase.errors import UserError
from dist_erase.observability.emit import Metrics

FORGETTING_GOALS = ("forget_top1_below", "forget_recall_below")
BUDGET = "retain_drop_above"
_LINE_THROUGH = 5  # evaluations; older ones say little about the pace now


def distances(
    stop: Mapping[str, float | None],
    figures: Mapping[str, Any],
    *,
    retain: float,
    retain_before: float | None,
) -> dict[str, float]:
    """What was measured minus what is configured, by name, for all that is configured.

    Below 0 a forgetting goal is met; above 0 the budget is overspent.

    Args:
        stop: the `stop` section.
        figures: of a live evaluation.
        retain: share of retain pairs found.
        retain_before: that of the original model; None leaves the budget out.

    Raises:
        UserError: `stop.forget_top1_below` without zero-shot figures.
    """
    found: dict[str, float] = {}
    top1, recall, budget = (stop.get(name) for name in (*FORGETTING_GOALS, BUDGET))
    if top1 is not None:
        zero_shot = figures["zero_shot"]["forget"]
        if zero_shot is None:
            raise UserError(
                "stop.forget_top1_below",
                "the forget set has no classes to choose from.",
                "Set data.classes and give .cls members, or use stop.forget_recall_below.",
            )
        found["forget_top1_below"] = float(zero_shot["top1"]) - top1
    if recall is not None:
        found["forget_recall_below"] = best_recall(figures, "forget") - recall
    if budget is not None and retain_before is not None:
        found[BUDGET] = retain_before - retain - budget
    return found


def best_recall(figures: Mapping[str, Any], name: str) -> float:
    """The larger recall@1 of both directions."""
    directions = figures["retrieval"][name]
    return max(float(directions[d]["r1"] or 0.0) for d in ("image_to_text", "text_to_image"))


def projected_steps(steps: Sequence[int], distance: Sequence[float], *, rising: bool) -> float:
    """Steps until a distance is 0, by a straight line through the last evaluations.

    Args:
        steps: at least two, ascending.
        distance: at these steps.
        rising: the distance is below 0 and what is feared is that it rises (the budget); else it
            is above 0 and falls.

    Returns:
        0 where it is there, infinity where the line does not lead there.
    """
    now = distance[-1]
    if (now > 0) if rising else (now < 0):
        return 0.0
    slope = _slope(steps, distance)
    left = -now / slope if slope != 0 else float("inf")
    return left if left >= 0 and (slope > 0) == rising else float("inf")


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of the straight line with the least squares."""
    mean_x, mean_y = fmean(x), fmean(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - mean_x) ** 2 for a in x)


class GoalWatch:
    """Tells of goals in metrics; projects from the second evaluation of an attempt on."""

    def __init__(self, stop: Mapping[str, float | None], metrics: Metrics) -> None:
        self._stop = stop
        self._metrics = metrics
        self._seen: deque[tuple[int, dict[str, float]]] = deque(maxlen=_LINE_THROUGH)

    def tell(self, step: int, distance: dict[str, float]) -> None:
        """After an evaluation."""
        self._seen.append((step, distance))
        for goal, value in distance.items():
            self._metrics.goal_distance_ratio.set(value, goal)
            known = [(at, seen[goal]) for at, seen in self._seen if goal in seen]
            if len(known) > 1:
                steps, values = zip(*known, strict=True)
                left = projected_steps(steps, values, rising=goal == BUDGET)
                self._metrics.goal_projected_steps.set(left, goal)
        budget = self._stop.get(BUDGET)
        if budget and BUDGET in distance:
            self._metrics.retain_budget_ratio.set(distance[BUDGET] / budget + 1)


def share_found(figures: dict[str, Any], name: str) -> float:
    """Share of a set's pairs that a model finds: zero-shot top-1, or recall@1 without classes."""
    zero_shot = figures["zero_shot"][name]
    return best_recall(figures, name) if zero_shot is None else float(zero_shot["top1"])
