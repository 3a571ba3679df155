"""The board "Unlearning progress": does it forget, does it hurt, when is it done?"""

from __future__ import annotations

from monitoring.generate.limits import BUDGET_NEARLY_USED
from monitoring.generate.promql import RUN, last, mean, selector, where
from monitoring.generate.records import Annotation, Board, Panel, Query, Row, Unit

_LIVE = "only where evaluate.every_steps is set"
_GOAL = "only where a goal is set in the section stop"
_BUDGET = "only where stop.retain_drop_above is set"
_AT_INTERVALS = "only where it is measured every so many steps"

_live = where(RUN, phase="live")

MARKS = (
    Annotation(
        name="Checkpoints",
        expr=f"max({selector('checkpoint_timestamp_seconds', RUN)}) * 1000",
        colour="blue",
        title="checkpoint",
        at_value=True,
    ),
    Annotation(
        name="Evaluations",
        expr=f"max(changes({selector('evaluations_total', RUN)}[$__interval])) > 0",
        colour="purple",
        title="live evaluation",
        may_be_empty=_LIVE,
    ),
    Annotation(
        name="Restarts",
        expr=f"max(changes({selector('worker_attempt', RUN)}[$__interval])) > 0",
        colour="orange",
        title="workers started again",
        may_be_empty="only where a worker died",
    ),
)

_AT_A_GLANCE = Row(
    title="At a glance",
    panels=(
        Panel(
            title="Progress",
            about="Steps done of the steps planned. A run may end earlier, when its goals are met "
            "or its budget of damage is spent.",
            kind="gauge",
            queries=(Query(expr=f"max({last('step')}) / max({last('steps_planned')})"),),
            unit="percentunit",
            width=3,
            height=5,
            low=0,
            high=1,
            base="blue",
        ),
        Panel(
            title="Time left",
            about="Steps to go times the mean time of the latest steps of rank 0. Checkpoints and "
            "evaluations come on top.",
            kind="stat",
            queries=(
                Query(
                    expr=f"(max({last('steps_planned')}) - max({last('step')})) * "
                    f"max({mean('step_seconds', where(RUN, rank='0'), 'run')})"
                ),
            ),
            unit="s",
            width=3,
            height=5,
            base="text",
        ),
        Panel(
            title="Distance to goal",
            about="How far the forget set is from the goals in the section stop, of the way from "
            "the original model; 0 % = met. Bad: it stays where it is, or grows.",
            kind="stat",
            queries=(Query(expr=f"max({last('goal_distance_ratio')})", may_be_empty=_GOAL),),
            unit="percentunit",
            width=3,
            height=5,
            base="green",
            steps=((0.000001, "yellow"), (0.5, "orange")),
        ),
        Panel(
            title="Steps to goal",
            about="Projected from the latest live evaluations. No value: no goal, or the figures "
            "do not fall. Bad: more than the steps that are left.",
            kind="stat",
            queries=(
                Query(
                    expr=f"max({last('goal_projected_steps')})",
                    may_be_empty="only where a goal is set and the figures fall",
                ),
            ),
            unit="short",
            width=3,
            height=5,
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
            height=5,
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
            height=5,
            base="text",
        ),
        Panel(
            title="Passes over the forget set",
            about="How often each forget pair has been seen. Well below 1: much of the set has "
            "not been seen yet.",
            kind="stat",
            queries=(Query(expr=f"max({last('forget_passes')})"),),
            width=3,
            height=5,
            decimals=2,
            base="text",
        ),
        Panel(
            title="Starts of the workers",
            about="1 = never restarted. Each restart goes back to the newest checkpoint.",
            kind="stat",
            queries=(Query(expr=f"max({last('worker_attempt')})"),),
            width=3,
            height=5,
            decimals=0,
            steps=((2, "yellow"), (4, "red")),
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
                    expr=f"max({selector('mismatched_similarity', RUN)})",
                    legend="never paired",
                    dashed=True,
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
                    expr=f"max by (goal) ({selector('goal_ratio', RUN)})",
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

_WHAT_IS_MINIMISED = Row(
    title="What is minimised",
    panels=(
        Panel(
            title="Loss by term",
            about="Each term over the global batch, unweighted; total is the weighted sum. Bad: "
            "retention or consistency climbs for good while forgetting has stopped falling.",
            kind="lines",
            queries=(Query(expr=f"max by (term) ({selector('loss', RUN)})", legend="{{term}}"),),
        ),
        Panel(
            title="Spread of similarity, forget pairs",
            about="How the forget pairs' cosines are spread over time; brighter = more pairs. "
            "Good: one band that moves to the floor. Bad: a second band stays up, pairs that the "
            "mean hides.",
            kind="heatmap",
            queries=(
                Query(
                    expr="sum by (le) (increase("
                    + selector("pair_similarity_bucket", where(RUN, stream="forget"))
                    + "[$__rate_interval]))",
                    legend="{{le}}",
                ),
            ),
        ),
        Panel(
            title="Gradient norm by term",
            about="L2 norm of the gradient before clipping, and of each term alone where it is "
            "measured. Bad: a term that dwarfs all others, or a norm that grows without end.",
            kind="lines",
            queries=(
                Query(expr=f"max({selector('gradient_norm', RUN)})", legend="all terms"),
                Query(
                    expr=f"max by (term) ({selector('term_gradient_norm', RUN)})",
                    legend="{{term}}",
                    may_be_empty=_AT_INTERVALS,
                ),
            ),
            log_scale=True,
        ),
        Panel(
            title="Forget against retain gradient",
            about="Cosine of the two gradients. Around 0: they do not meet. Bad: near -1, each "
            "step of forgetting undoes a step of keeping; think of objective.combine.",
            kind="lines",
            queries=(
                Query(
                    expr=f"max({selector('gradient_cosine_ratio', RUN)})",
                    legend="cosine",
                    may_be_empty=_AT_INTERVALS,
                ),
            ),
            width=6,
            height=7,
            low=-1,
            high=1,
        ),
        Panel(
            title="Weights of the terms",
            about="The λ that the terms are multiplied with.",
            kind="lines",
            queries=(
                Query(
                    expr=f"max by (term) ({selector('objective_weight', RUN)})", legend="{{term}}"
                ),
            ),
            width=6,
            height=7,
            low=0,
        ),
        Panel(
            title="Learning rate",
            about="Of each step. A jump after a resume: the number of steps was changed.",
            kind="lines",
            queries=(Query(expr=f"max({selector('learning_rate', RUN)})", legend="lr"),),
            width=6,
            height=7,
            low=0,
        ),
        Panel(
            title="Temperature and epoch",
            about="exp(logit_scale), flat unless it is trained, and the passes over the set that "
            "counts epochs.",
            kind="lines",
            queries=(
                Query(expr=f"max({selector('logit_scale', RUN)})", legend="logit scale"),
                Query(expr=f"max({selector('epoch', RUN)})", legend="epoch"),
            ),
            width=6,
            height=7,
            low=0,
        ),
    ),
)


def _report(title: str, about: str, measure: str, unit: Unit, width: int) -> Panel:
    """A table of figures of the original and the erased model."""
    return Panel(
        title=title,
        about=about,
        kind="table",
        queries=tuple(
            Query(
                expr="max by (set, task, measure) ("
                + last("evaluation_ratio", where(RUN, phase=phase, measure=f"~{measure}"))
                + ")",
                legend=phase,
            )
            for phase in ("before", "after")
        ),
        unit=unit,
        width=width,
        height=10,
        decimals=1 if unit else 3,
        labels=("set", "task", "measure"),
    )


_BEFORE_AND_AFTER = Row(
    title="Before and after",
    panels=(
        _report(
            "What is found, before and after",
            "Accuracy and recall@1 on held-out sets, as in report.json; after fills at the end of "
            "the run. Bad: sets other than forget lose. The report holds intervals and what was "
            "not measured.",
            "top1|.*_r1",
            "percentunit",
            12,
        ),
        _report(
            "Similarity, before and after",
            "Mean cosine of matching and of never paired images and texts. Good: matching forget "
            "pairs end at the level of never paired ones.",
            "matched|mismatched",
            "",
            12,
        ),
    ),
)

BOARD = Board(
    uid="dist-erase-unlearning",
    title="Unlearning progress",
    about="Does the run forget what it should, what does it cost elsewhere, when is it done?",
    rows=(_AT_A_GLANCE, _FORGET_AND_KEEP, _WHAT_IS_MINIMISED, _BEFORE_AND_AFTER),
    annotations=MARKS,
)
