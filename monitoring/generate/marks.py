"""Marks on the graphs: checkpoints, live evaluations, restarts."""

from __future__ import annotations

from monitoring.generate.promql import RUN, selector, where
from monitoring.generate.records import Annotation

# Unlike a change, growth of a counter leaves out that a new process begins at 0.
_GREW = "max(increase({}[$__rate_interval])) > 0"

MARKS = (
    Annotation(
        name="Checkpoints",
        # Not when the newest one was written: a restart sets that to its own time.
        expr=_GREW.format(selector("checkpoint_seconds_count", where(RUN, rank="0"))),
        colour="blue",
        title="checkpoint",
    ),
    Annotation(
        name="Evaluations",
        expr=_GREW.format(selector("evaluations_total", RUN)),
        colour="purple",
        title="live evaluation",
        may_be_empty="only where evaluate.every_steps is set",
    ),
    Annotation(
        name="Restarts",
        expr=f"max(changes({selector('worker_attempt', RUN)}[$__rate_interval])) > 0",
        colour="orange",
        title="workers started again",
        may_be_empty="only where a worker died",
    ),
)
