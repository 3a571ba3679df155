"""The board "Unlearning progress": does it forget, does it hurt, when is it done?"""

from __future__ import annotations

from monitoring.generate.limits import BUDGET_NEARLY_USED
from monitoring.generate.marks import MARKS
from monitoring.generate.promql import LATELY, RUN, last, mean, selector, where
from monitoring.generate.records import Board, Panel, Query, Row
from monitoring.generate.unlearning_detail import (
    BEFORE_AND_AFTER,
    HOW_IT_IS_WEIGHED,
    WHAT_IS_MINIMISED,
)

_LIVE = "only where evaluate.every_steps is set"
_GOAL = "only where a goal is set in the section stop"
_BUDGET = "only where stop.retain_drop_above is set"

# By exit code; those of run_exit_code.
ENDINGS = (
    (-1, "not yet", "text"),
    (0, "done", "green"),
    (1, "an error", "red"),
    (2, "to mend", "red"),
    (3, "goal missed", "orange"),
    (75, "interrupted", "blue"),
    (130, "stopped", "orange"),
)

_live = where(RUN, phase="live")
_FORGET = where(RUN, goal="~forget.*")

_AT_A_GLANCE = Row(
    title="At a glance",
    panels=(
        Panel(
            title="Progress",
            about="Steps done of the steps planned. Where goals or the budget of damage end the "
            "run earlier, it jumps to 100 %. Then the model is measured: see Before and after.",
            kind="gauge",
            queries=(Query(expr=f"max({last('step')}) / max({last('steps_planned')})"),),
            unit="percentunit",
            width=3,
            height=4,
            low=0,
            high=1,
            base="blue",
        ),
        Panel(
            title="Time left",
            about="Steps to go times rank 0's mean time for a step in the last five minutes. "
            "Checkpoints and evaluations come on top.",
            kind="stat",
            queries=(
                Query(
                    expr=f"(max({last('steps_planned')}) - max({last('step')})) * "
                    f"max({mean('step_seconds', where(RUN, rank='0'), 'run', LATELY)})"
                ),
            ),
            unit="s",
            width=3,
            height=4,
            base="text",
        ),
        Panel(
            title="Distance to goal",
            about="What the latest live evaluation still found of the forget set, less the goal, "
            "in points; of several goals the farthest. Below 0 = all are met. Bad: it stays.",
            kind="stat",
            queries=(
                Query(expr=f"max({last('goal_distance_ratio', _FORGET)})", may_be_empty=_GOAL),
            ),
            unit="percentunit",
            width=3,
            height=4,
            steps=((0, "yellow"), (0.5, "orange")),
        ),
        Panel(
            title="Steps to goal",
            about="A straight line through the latest live evaluations; +Inf = the goal does not "
            "come nearer. Bad: more than the steps that are left.",
            kind="stat",
            queries=(
                Query(
                    expr=f"max({last('goal_projected_steps', _FORGET)})",
                    may_be_empty="only where a goal is set, from the second evaluation on",
                ),
            ),
            unit="short",
            width=3,
            height=4,
            decimals=0,
            base="text",
        ),
        Panel(
            title="Retain budget spent",
            about="What the retain set has lost, as a share of stop.retain_drop_above. At 100 % "
            "the run ends.",
            kind="gauge",
            queries=(Query(expr=f"max({last('retain_budget_ratio')})", may_be_empty=_BUDGET),),
            unit="percentunit",
            width=3,
            height=4,
            low=0,
            high=1,
            steps=((BUDGET_NEARLY_USED, "orange"), (1.0, "red")),
        ),
        Panel(
            title="Forget pairs at the floor",
            about="Share of the last step's forget pairs whose similarity is at the level of pairs "
            "that were never paired, or below.",
            kind="stat",
            queries=(
                Query(
                    expr=f"max({last('forget_at_floor_ratio')})",
                    may_be_empty="only where the objective has a floor",
                ),
            ),
            unit="percentunit",
            width=3,
            height=4,
            base="text",
        ),
        Panel(
            title="Passes over the forget set",
            about="How often each forget pair has been seen. Well below 1: much of the set has "
            "not been seen yet.",
            kind="stat",
            queries=(Query(expr=f"max({last('forget_passes')})"),),
            width=3,
            height=4,
            decimals=2,
            base="text",
        ),
        Panel(
            title="How it ended",
            about="By its exit code, once the run has ended. A run that was killed outright cannot "
            "say so: it stays at not yet.",
            kind="stat",
            queries=(Query(expr=f"max({last('run_exit_code')}) or vector(-1)"),),
            width=3,
            height=4,
            base="text",
            states=ENDINGS,
        ),
    ),
)

_FORGET_AND_KEEP = Row(
    title="Is it forgetting, and does it hurt?",
    panels=(
        Panel(
            title="Similarity of matching pairs",
            about="Mean cosine of images and their texts in each batch. Good: forget falls to the "
            "dashed level of pairs that were never paired and stays there; retain stays. Bad: "
            "forget ends far below that level, which also wipes out other facts.",
            kind="lines",
            queries=(
                Query(
                    expr=f"max by (stream) ({selector('matched_similarity', RUN)})",
                    legend="{{stream}}",
                ),
                Query(
                    expr=f"max by (stream) ({selector('mismatched_similarity', RUN)})",
                    legend="{{stream}}, never paired",
                    dashed=True,
                ),
                Query(
                    expr=f"max({selector('similarity_floor', RUN)})",
                    legend="floor",
                    dashed=True,
                    may_be_empty="only where the objective has a floor",
                ),
            ),
        ),
        Panel(
            title="Forget set: what is still found",
            about="Live evaluation of the held-out forget set: zero-shot top-1 and recall@1, with "
            "the goals dashed. Judge by this and not by similarity: retrieval can be high while "
            "similarity is at its goal.",
            kind="lines",
            queries=(
                Query(
                    expr="max by (task, measure) ("
                    + selector(
                        "evaluation_ratio",
                        where(_live, set="forget", measure="~top1|.*_r1"),
                    )
                    + ")",
                    legend="{{task}} {{measure}}",
                    may_be_empty=_LIVE,
                ),
                Query(
                    expr=f"max by (goal) ({selector('goal_ratio', _FORGET)})",
                    legend="goal {{goal}}",
                    dashed=True,
                    may_be_empty=_GOAL,
                ),
            ),
            unit="percentunit",
            low=0,
            high=1,
        ),
        Panel(
            title="Other sets: what is kept",
            about="Live evaluation of retain, hold-out and neighbour sets: zero-shot top-1, or "
            "recall@1 where there are no classes. Bad: any of them falls. Hold-outs fall first "
            "when forgetting spreads.",
            kind="lines",
            queries=(
                Query(
                    expr="max by (set, measure) ("
                    + selector(
                        "evaluation_ratio", where(_live, set="!forget", measure="~top1|.*_r1")
                    )
                    + ")",
                    legend="{{set}} {{measure}}",
                    may_be_empty=_LIVE,
                ),
            ),
            unit="percentunit",
            low=0,
            high=1,
        ),
    ),
)

BOARD = Board(
    uid="dist-erase-unlearning",
    title="Unlearning progress",
    about="Does the run forget what it should, what does it cost elsewhere, when is it done?",
    rows=(
        _AT_A_GLANCE,
        _FORGET_AND_KEEP,
        WHAT_IS_MINIMISED,
        HOW_IT_IS_WEIGHED,
        BEFORE_AND_AFTER,
    ),
    annotations=MARKS,
)
