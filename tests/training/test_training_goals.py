"""Distances to goals and what is projected from them, by hand."""

from __future__ import annotations

import math

import pytest

from dist_erase.errors import UserError
from dist_erase.observability.emit import Metrics
from dist_erase.observability.snapshot import from_text, to_text
from dist_erase.training.goals import GoalWatch, distances, projected_steps
from dist_erase.training.live_evaluation import why_stop

STOP = {"forget_top1_below": 0.1, "forget_recall_below": 0.2, "retain_drop_above": 0.05}


def figures(top1: float | None, recall: float) -> dict[str, object]:
    both = {d: {"r1": recall} for d in ("image_to_text", "text_to_image")}
    return {
        "zero_shot": {"forget": None if top1 is None else {"top1": top1}},
        "retrieval": {"forget": both | {"text_to_image": {"r1": None}}},
    }


def shown(metrics: Metrics, name: str) -> dict[str, float]:
    families = from_text(to_text(metrics.registry.collect()))
    samples = [s for family in families for s in family.samples if s.name == f"dist_erase_{name}"]
    return {s.labels.get("goal", ""): s.value for s in samples}


def test_distances_are_measured_minus_configured():
    found = distances(STOP, figures(0.5, 0.15), retain=0.8, retain_before=0.9)
    assert found == pytest.approx(
        {"forget_top1_below": 0.4, "forget_recall_below": -0.05, "retain_drop_above": 0.05}
    )
    assert distances({}, figures(None, 1.0), retain=1, retain_before=None) == {}
    with pytest.raises(UserError, match=r"stop\.forget_top1_below: the forget set has no classes"):
        distances(STOP, figures(None, 0.1), retain=1, retain_before=1)


@pytest.mark.parametrize(
    ("steps", "values", "rising", "left"),
    [
        ([0, 10], [0.4, 0.3], False, 30),  # falls by 0.01 a step
        ([0, 10, 20], [0.4, 0.3, 0.2], False, 20),
        ([0, 10], [0.4, 0.5], False, math.inf),  # goes away
        ([0, 10], [0.4, 0.4], False, math.inf),
        ([0, 10], [0.4, -0.1], False, 0),  # met
        ([0, 10], [0.4, 0.0], False, 0),  # at the goal, which is not yet below it: now
        ([0, 10], [-0.05, -0.04], True, 40),  # the budget is spent
        ([0, 10], [-0.05, -0.06], True, math.inf),
        ([0, 10], [-0.05, 0.01], True, 0),  # overspent
    ],
)
def test_a_straight_line_is_followed_to_the_goal(steps, values, rising, left):
    assert projected_steps(steps, values, rising=rising) == pytest.approx(left, abs=1e-9)


def test_goals_are_told_from_the_first_evaluation_and_projected_from_the_second():
    metrics = Metrics(run="r", role="student", rank=0)
    watch = GoalWatch(STOP, metrics)
    watch.tell(0, {"forget_top1_below": 0.9, "retain_drop_above": -0.05})
    assert shown(metrics, "goal_distance_ratio")["forget_top1_below"] == 0.9
    assert shown(metrics, "goal_projected_steps") == {}
    assert shown(metrics, "retain_budget_ratio") == {"": 0.0}
    watch.tell(10, {"forget_top1_below": 0.6, "retain_drop_above": -0.03})
    assert shown(metrics, "goal_projected_steps") == pytest.approx(
        {"forget_top1_below": 20, "retain_drop_above": 15}
    )
    assert shown(metrics, "retain_budget_ratio") == pytest.approx({"": 0.4})


def test_a_run_stops_when_all_goals_are_met_or_the_budget_is_overspent():
    met = {"forget_top1_below": -0.01, "forget_recall_below": -0.1, "retain_drop_above": -0.01}
    assert why_stop(met, retain=0.9, retain_before=0.94) == "every forgetting goal is met"
    half = met | {"forget_recall_below": 0.0}
    assert why_stop(half, retain=0.9, retain_before=0.94) is None
    spent = half | {"retain_drop_above": 0.01}
    assert why_stop(spent, retain=0.84, retain_before=0.9) == (
        "retain fell from 90.0% to 84.0%, beyond the budget"
    )
    assert why_stop({"retain_drop_above": -0.05}, retain=0.9, retain_before=0.9) is None
