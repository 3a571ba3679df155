"""Marks on the graphs: checkpoints, live evaluations, restarts."""

from __future__ import annotations

from monitoring.generate.promql import RUN, WINDOW, selector, where
from monitoring.generate.records import Annotation

# Unlike a change, growth of a counter leaves out that a new process begins at 0.
_GREW = "max(increase({}[$__rate_interval])) > 0"
# Ranks are started together. A number that this series has not had in the hour before: a resume has
# a label `start` of its own, a rank on another node a label `node`, where nothing changes; and the
# hour bridges what Prometheus could not scrape.
_ATTEMPT = selector("worker_attempt", where(RUN, rank="0"))

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
        expr=f"max({_ATTEMPT} unless {_ATTEMPT} <= max_over_time({_ATTEMPT}[1h] offset {WINDOW}))"
        " > 1",
        colour="orange",
        title="workers started again",
        may_be_empty="only where a worker died",
    ),
)
