"""The board "Compare runs": which of these runs forgot best, at what cost?"""

from __future__ import annotations

from monitoring.generate.promql import RUNS, last, mean, rate, where
from monitoring.generate.promql import selector as of
from monitoring.generate.records import Board, Panel, Query, Row

_LIVE = "only where evaluate.every_steps is set"
_FACTS = ("run", "config_hash", "world_size", "version", "torch", "deepspeed", "ray")
_OF_FORGET = where(RUNS, stream="forget")
_CLASSES = "only where the sets have classes"


def _after(set_: str, task: str, measure: str) -> str:
    labels = where(RUNS, phase="after", set=set_, task=task, measure=measure)
    return f"max by (run) ({last('evaluation_ratio', labels)})"


def _fall(set_: str, task: str, measure: str) -> str:
    labels = where(RUNS, phase="before", set=set_, task=task, measure=measure)
    return f"max by (run) ({last('evaluation_ratio', labels)}) - {_after(set_, task, measure)}"


_AT_THE_END = Row(
    title="At the end",
    panels=(
        Panel(
            title="Runs side by side",
            about="The finished runs' figures on held-out sets. Good: forget figures low, the "
            "forget similarity near the level never paired, and little lost on retain. Figures of "
            "a few dozen pairs are rough: the reports hold their intervals.",
            kind="table",
            queries=(
                Query(
                    expr=_after("forget", "zero_shot", "top1"),
                    legend="forget top-1",
                    may_be_empty=_CLASSES,
                ),
                Query(
                    expr=_after("forget", "retrieval", "text_to_image_r1"),
                    legend="forget recall@1",
                ),
                Query(
                    expr=_after("forget", "similarity", "matched"),
                    legend="forget similarity",
                    unit="none",
                ),
                Query(
                    expr=_after("forget", "similarity", "mismatched"),
                    legend="never paired",
                    unit="none",
                ),
                Query(
                    expr=_after("retain", "zero_shot", "top1"),
                    legend="retain top-1",
                    may_be_empty=_CLASSES,
                ),
                Query(
                    expr=_fall("retain", "zero_shot", "top1"),
                    legend="retain top-1 lost",
                    may_be_empty=_CLASSES,
                ),
                Query(
                    expr=_fall("retain", "retrieval", "text_to_image_r1"),
                    legend="retain recall@1 lost",
                ),
            ),
            unit="percentunit",
            width=24,
            height=6,
            decimals=1,
            labels=("run",),
        ),
        Panel(
            title="Still found in the forget set",
            about="Zero-shot top-1 after erasing. Low is the aim; chance level is enough.",
            kind="bars",
            queries=(
                Query(
                    expr=_after("forget", "zero_shot", "top1"),
                    legend="{{run}}",
                    may_be_empty=_CLASSES,
                ),
            ),
            unit="percentunit",
            height=6,
            low=0,
            high=1,
            steps=((0.1, "yellow"), (0.5, "red")),
        ),
        Panel(
            title="Kept in the retain set",
            about="Zero-shot top-1 after erasing. High is the aim: as high as before.",
            kind="bars",
            queries=(
                Query(
                    expr=_after("retain", "zero_shot", "top1"),
                    legend="{{run}}",
                    may_be_empty=_CLASSES,
                ),
            ),
            unit="percentunit",
            height=6,
            low=0,
            high=1,
            base="blue",
        ),
        Panel(
            title="Steps done",
            about="Optimiser steps of each run, over all its attempts.",
            kind="bars",
            queries=(Query(expr=f"max by (run) ({last('step', RUNS)})", legend="{{run}}"),),
            height=6,
            low=0,
            decimals=0,
            base="blue",
        ),
    ),
)

_ON_THE_WAY = Row(
    title="On the way",
    panels=(
        Panel(
            title="Similarity of forget pairs",
            about="Mean cosine of matching forget pairs, by run; the level never paired dashed. "
            "The axis is the time of day: runs lie where they ran.",
            kind="lines",
            queries=(
                Query(
                    expr="max by (run) (" + of("matched_similarity", _OF_FORGET) + ")",
                    legend="{{run}}",
                ),
                Query(
                    expr=f"max by (run) ({of('mismatched_similarity', _OF_FORGET)})",
                    legend="{{run}} never paired",
                    dashed=True,
                ),
            ),
        ),
        Panel(
            title="Similarity of retain pairs",
            about="The same of the retain set. Bad: it falls with forgetting.",
            kind="lines",
            queries=(
                Query(
                    expr="max by (run) ("
                    + of("matched_similarity", where(RUNS, stream="retain"))
                    + ")",
                    legend="{{run}}",
                ),
            ),
        ),
        Panel(
            title="Total loss",
            about="The weighted sum. Compare it only between runs with the same objective.",
            kind="lines",
            queries=(
                Query(
                    expr=f"max by (run) ({of('loss', where(RUNS, term='total'))})", legend="{{run}}"
                ),
            ),
        ),
    ),
)

_EVALUATED_ON_THE_WAY = Row(
    title="Evaluated on the way",
    collapsed=True,
    panels=(
        Panel(
            title="Live: still found in the forget set",
            about="Zero-shot top-1 of the held-out forget set while training.",
            kind="lines",
            queries=(
                Query(
                    expr="max by (run) ("
                    + of(
                        "evaluation_ratio",
                        where(RUNS, phase="live", set="forget", task="zero_shot", measure="top1"),
                    )
                    + ")",
                    legend="{{run}}",
                    may_be_empty=_LIVE,
                ),
            ),
            unit="percentunit",
            low=0,
            high=1,
        ),
        Panel(
            title="Live: kept in the retain set",
            about="Zero-shot top-1 of the held-out retain set while training.",
            kind="lines",
            queries=(
                Query(
                    expr="max by (run) ("
                    + of(
                        "evaluation_ratio",
                        where(RUNS, phase="live", set="retain", task="zero_shot", measure="top1"),
                    )
                    + ")",
                    legend="{{run}}",
                    may_be_empty=_LIVE,
                ),
            ),
            unit="percentunit",
            low=0,
            high=1,
        ),
        Panel(
            title="Steps",
            about="Steps done by time. The slope is the speed; a drop is a restart.",
            kind="lines",
            queries=(Query(expr=f"max by (run) ({of('step', RUNS)})", legend="{{run}}"),),
            low=0,
        ),
    ),
)

_COST = Row(
    title="At what cost",
    collapsed=True,
    panels=(
        Panel(
            title="Pairs per second",
            about="Forget and retain pairs, all ranks of a run together.",
            kind="lines",
            queries=(
                Query(expr=f"sum by (run) ({rate('samples_total', RUNS)})", legend="{{run}}"),
            ),
            low=0,
        ),
        Panel(
            title="Mean step",
            about="Wall time of a step, waits included, mean over the ranks.",
            kind="lines",
            queries=(Query(expr=mean("step_seconds", RUNS, "run"), legend="{{run}}"),),
            unit="s",
            low=0,
        ),
        Panel(
            title="Waiting for data and teacher",
            about="Share of the ranks' time. Bad: a run that is slower because it waits more.",
            kind="lines",
            queries=(
                Query(
                    expr="sum by (run) ("
                    + rate("phase_seconds_total", where(RUNS, phase="~data_wait|teacher_wait"))
                    + f") / sum by (run) ({rate('phase_seconds_total', RUNS)})",
                    legend="{{run}}",
                ),
            ),
            unit="percentunit",
            low=0,
            high=1,
        ),
        Panel(
            title="What ran",
            about="Configuration, versions and number of ranks of each run.",
            kind="table",
            queries=(Query(expr=f"max by ({', '.join(_FACTS)}) ({last('run_info', RUNS)})"),),
            width=24,
            height=6,
            labels=_FACTS,
        ),
    ),
)

BOARD = Board(
    uid="dist-erase-compare",
    title="Compare runs",
    about="Which of these runs forgot best, what did it cost, and how fast was it?",
    rows=(_AT_THE_END, _ON_THE_WAY, _EVALUATED_ON_THE_WAY, _COST),
    many_runs=True,
)
