"""Is it forgetting, is it hurting, how far is the goal?"""

from __future__ import annotations

from dist_erase.observability.definitions.alarms import (
    END_STALLED,
    FORGETTING_STUCK,
    OVER_FORGETTING,
    RETAIN_DAMAGE,
)
from dist_erase.observability.definitions.kinds import (
    COSINE_BUCKETS,
    GOAL,
    GOALS_SET,
    MEASURED_MODELS,
    STREAM,
    TERM,
    TERM_OR_TOTAL,
    Definition,
    Label,
)

_LOSS = "Which term of the objective falls, and which one stands still?"
_SIMILARITY = "Have forget pairs come down to the level of pairs that were never paired?"
_GOAL = "How far is each goal, and when will it be met?"
_MEASUREMENT = "How far is the measurement on the held-out sets?"
_CONFLICT = "Do forgetting and retaining pull against each other?"

_MEASURED = Label("model", MEASURED_MODELS)

FORGETTING = (
    Definition(
        name="dist_erase_loss",
        kind="gauge",
        labels=(TERM_OR_TOTAL,),
        dashboard="progress",
        question=_LOSS,
        help="One loss term over the global batch of the last step, unweighted; total is the "
        "weighted sum. Set by rank 0.",
    ),
    Definition(
        name="dist_erase_objective_weight",
        kind="gauge",
        labels=(TERM,),
        dashboard="progress",
        question=_LOSS,
        help="Weight of a term in the objective (lambda), of those switched on. Set by rank 0 at "
        "the start.",
    ),
    Definition(
        name="dist_erase_matched_similarity",
        kind="gauge",
        labels=(STREAM,),
        dashboard="progress",
        question=_SIMILARITY,
        alerts=(FORGETTING_STUCK, OVER_FORGETTING),
        help="Mean cosine of matching images and texts over the global batch of the last step. "
        "Set by rank 0.",
    ),
    Definition(
        name="dist_erase_mismatched_similarity",
        kind="gauge",
        labels=(STREAM,),
        dashboard="progress",
        question=_SIMILARITY,
        alerts=(FORGETTING_STUCK, OVER_FORGETTING),
        help="Mean cosine, over the global batch of the last step, of the images of a stream with "
        "retain texts that are not theirs and of its texts with such images; equal captions are "
        "left out. Set by rank 0.",
    ),
    Definition(
        name="dist_erase_pair_similarity",
        kind="histogram",
        labels=(STREAM,),
        buckets=COSINE_BUCKETS,
        dashboard="progress",
        question="How are the cosines of single pairs spread, not only their mean?",
        help="Cosine of each matching pair of every global batch so far. Set by rank 0.",
    ),
    Definition(
        name="dist_erase_similarity_floor",
        kind="gauge",
        dashboard="progress",
        question=_SIMILARITY,
        when="objective.forget.floor is not none",
        help="Cosine of pairs that were never paired: where forget pairs should end. Set by "
        "rank 0 at the start.",
    ),
    Definition(
        name="dist_erase_forget_at_floor_ratio",
        kind="gauge",
        unit="ratio",
        dashboard="progress",
        question=_SIMILARITY,
        when="objective.forget.floor is not none",
        help="Share of the forget pairs of the last step whose cosine is at the floor or below. "
        "Set by rank 0.",
    ),
    Definition(
        name="dist_erase_forget_passes",
        kind="gauge",
        dashboard="progress",
        question="How often has each forget pair been seen?",
        help="How often each forget pair has been seen so far. Set by rank 0.",
    ),
    Definition(
        name="dist_erase_evaluation_ratio",
        kind="gauge",
        unit="ratio",
        role="driver",
        labels=(
            Label("phase", ("before", "after", "live")),
            Label("task"),
            Label("set"),
            Label("measure"),
        ),
        dashboard="progress",
        question="What can still be found of the forget set, and what of all others?",
        help="One figure of an evaluation, as in report.json: accuracies and recalls 0 to 1, "
        "similarities -1 to 1. Live figures are set by student rank 0.",
    ),
    Definition(
        name="dist_erase_evaluations_total",
        kind="counter",
        dashboard="progress",
        question="What can still be found of the forget set, and what of all others?",
        help="Live evaluations done since the process started, the one before step 1 included. "
        "Counted by rank 0.",
    ),
    Definition(
        name="dist_erase_evaluation_pairs_total",
        kind="counter",
        role="evaluation",
        labels=(_MEASURED, Label("set")),
        dashboard="progress",
        question=_MEASUREMENT,
        alerts=(END_STALLED,),
        help="Held-out pairs embedded for the report so far, by the process that measures at the "
        "end of the run. With Ray the original model was measured before the run began.",
    ),
    Definition(
        name="dist_erase_evaluation_pairs_planned",
        kind="gauge",
        role="evaluation",
        labels=(_MEASURED, Label("set")),
        dashboard="progress",
        question=_MEASUREMENT,
        help="Held-out pairs of the set: what dist_erase_evaluation_pairs_total ends at.",
    ),
    Definition(
        name="dist_erase_goal_ratio",
        kind="gauge",
        unit="ratio",
        role="driver",
        labels=(GOAL,),
        dashboard="progress",
        question=_GOAL,
        when=GOALS_SET,
        help="A configured goal or budget, as in stop.*. Set by the driver at the start.",
    ),
    Definition(
        name="dist_erase_goal_distance_ratio",
        kind="gauge",
        unit="ratio",
        labels=(GOAL,),
        dashboard="progress",
        question=_GOAL,
        when=GOALS_SET,
        alerts=(RETAIN_DAMAGE,),
        help="What the last live evaluation measured minus the goal: below 0 is met, or within "
        "the budget. Set by rank 0.",
    ),
    Definition(
        name="dist_erase_goal_projected_steps",
        kind="gauge",
        labels=(GOAL,),
        dashboard="progress",
        question=_GOAL,
        when=GOALS_SET,
        help="Steps left until a forgetting goal is met, by a straight line through the last live "
        "evaluations; 0 = met, +Inf = it does not come nearer. For the budget: until it is spent. "
        "Set by rank 0 from the second evaluation on.",
    ),
    Definition(
        name="dist_erase_retain_budget_ratio",
        kind="gauge",
        unit="ratio",
        dashboard="progress",
        question="How much of the damage that is allowed has been done?",
        when="stop.retain_drop_above is set, and not 0",
        help="Share of stop.retain_drop_above that the retain set had lost at the last live "
        "evaluation: 1 = spent, below 0 = it gained. Set by rank 0.",
    ),
    Definition(
        name="dist_erase_term_gradient_norm",
        kind="gauge",
        labels=(TERM,),
        dashboard="progress",
        question=_CONFLICT,
        when="observe.gradients_every is not 0",
        help="L2 norm of one term's gradient over all trained parameters, weighted as in the "
        "objective, before clipping; every observe.gradients_every steps. Set by rank 0.",
    ),
    Definition(
        name="dist_erase_gradient_cosine_ratio",
        kind="gauge",
        unit="ratio",
        dashboard="progress",
        question=_CONFLICT,
        when="observe.gradients_every is not 0",
        help="Cosine of the forgetting term's gradient with the weighted sum of all other terms' "
        "gradients, over all trained parameters: -1 = they undo each other. Every "
        "observe.gradients_every steps. Set by rank 0.",
    ),
)
