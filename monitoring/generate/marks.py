"""Marks on the graphs: checkpoints, live evaluations, restarts."""

from __future__ import annotations

from monitoring.generate.promql import RUN, selector
from monitoring.generate.records import Annotation

_CHANGED = "max(changes({}[$__rate_interval])) > 0"

MARKS = (
    Annotation(
        name="Checkpoints",
        # Before the first one the time is that of the start, which is no checkpoint.
        expr=f"max({selector('checkpoint_timestamp_seconds', RUN)}) * 1000"
        f" and max({selector('checkpoint_last_step', RUN)})",
        colour="blue",
        title="checkpoint",
        at_value=True,
    ),
    Annotation(
        name="Evaluations",
        expr=_CHANGED.format(selector("evaluations_total", RUN)),
        colour="purple",
        title="live evaluation",
        may_be_empty="only where evaluate.every_steps is set",
    ),
    Annotation(
        name="Restarts",
        expr=_CHANGED.format(selector("worker_attempt", RUN)),
        colour="orange",
        title="workers started again",
        may_be_empty="only where a worker died",
    ),
)
