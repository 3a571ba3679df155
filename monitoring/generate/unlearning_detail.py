"""Rows of the board "Unlearning progress": what is minimised, and the figures before and after."""

from __future__ import annotations

from monitoring.generate.promql import RUN, last, selector, where
from monitoring.generate.records import Panel, Query, Row, Unit

_AT_INTERVALS = "only where observe.gradients_every is not 0"

WHAT_IS_MINIMISED = Row(
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
    ),
)

HOW_IT_IS_WEIGHED = Row(
    title="Gradients, weights and schedule",
    collapsed=True,
    panels=(
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
            height=6,
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
            height=6,
            low=0,
        ),
        Panel(
            title="Learning rate",
            about="Of each step. A jump after a resume: the number of steps was changed.",
            kind="lines",
            queries=(Query(expr=f"max({selector('learning_rate', RUN)})", legend="lr"),),
            width=6,
            height=6,
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
            height=6,
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
        height=8,
        decimals=1 if unit else 3,
        labels=("set", "task", "measure"),
    )


BEFORE_AND_AFTER = Row(
    title="Before and after",
    collapsed=True,
    panels=(
        _report(
            "What is found, before and after",
            "Accuracy and recall@1 on held-out sets, as in report.json; after fills at the end of "
            "the run. Bad: sets other than forget lose. The report holds intervals and what was "
            "not measured.",
            "top1|.*_r1",
            "percentunit",
            10,
        ),
        _report(
            "Similarity, before and after",
            "Mean cosine of matching and of never paired images and texts. Good: matching forget "
            "pairs end at the level of never paired ones.",
            "matched|mismatched",
            "",
            9,
        ),
        Panel(
            title="Held-out pairs measured",
            about="Share of each held-out set that the measurement after the last step has "
            "embedded; the report follows at 100 %. Bad: it stands still before that.",
            kind="bars",
            queries=(
                Query(
                    expr=f"max by (model, set) ({last('evaluation_pairs_total')})"
                    f" / max by (model, set) ({last('evaluation_pairs_planned')})",
                    legend="{{model}}: {{set}}",
                    may_be_empty="only once the last step is done",
                ),
            ),
            unit="percentunit",
            width=5,
            height=8,
            low=0,
            high=1,
            base="blue",
        ),
    ),
)
