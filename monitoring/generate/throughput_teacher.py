"""The row of the board "Throughput and waits" about the teacher."""

from __future__ import annotations

from monitoring.generate.promql import PLACED, RUN, mean, quantile, rate
from monitoring.generate.promql import selector as of
from monitoring.generate.records import Panel, Query, Row

_POOL = "only with a teacher pool"

TEACHER = Row(
    title="Teacher",
    collapsed=True,
    panels=(
        Panel(
            title="Answer time",
            about="From handing a batch to the teacher to its answer, as the ranks saw it. It is "
            "hidden as long as it is shorter than teacher.prefetch steps.",
            kind="lines",
            queries=(
                Query(expr=quantile(0.5, "teacher_request_seconds", PLACED), legend="half"),
                Query(expr=quantile(0.95, "teacher_request_seconds", PLACED), legend="95 of 100"),
            ),
            unit="s",
            width=6,
            low=0,
        ),
        Panel(
            title="Spread of answer times",
            about="Answers by the time they took; brighter = more. Two bands: a slow replica, or "
            "batches asked for again.",
            kind="heatmap",
            queries=(
                Query(
                    expr="sum by (le) (increase("
                    + of("teacher_request_seconds_bucket", RUN)
                    + "[$__rate_interval]))",
                    legend="{{le}}",
                ),
            ),
            unit="s",
            width=6,
        ),
        Panel(
            title="Requests waiting",
            about="Asked by the ranks and not yet answered, and what lies in each replica. Bad: "
            "replicas stay full, they are too few.",
            kind="lines",
            queries=(
                Query(expr=f"sum({of('teacher_requests_in_flight', RUN)})", legend="in flight"),
                Query(
                    expr=f"sum by (rank) ({of('teacher_replica_queued_requests', RUN)})",
                    legend="replica {{rank}}",
                    may_be_empty=_POOL,
                ),
            ),
            width=6,
            low=0,
        ),
        Panel(
            title="Work of the replicas",
            about="Pairs embedded per second. Bad: one replica does much less than the others.",
            kind="lines",
            queries=(
                Query(
                    expr=f"sum by (rank) ({rate('teacher_replica_pairs_total')})",
                    legend="replica {{rank}}",
                    may_be_empty=_POOL,
                ),
            ),
            width=6,
            low=0,
            stacked=True,
        ),
        Panel(
            title="Requests",
            about="Batches asked about per second, all ranks together: steps per second times "
            "ranks. Bad: it falls while the ranks wait for the teacher.",
            kind="lines",
            queries=(
                Query(expr=f"sum({rate('teacher_requests_total', PLACED)})", legend="requests"),
            ),
            unit="ops",
            width=8,
            height=6,
            low=0,
        ),
        Panel(
            title="Pairs in a request",
            about="Mean pairs of one request to a replica: one rank's batch. It should be flat.",
            kind="lines",
            queries=(
                Query(
                    expr=mean("teacher_replica_batch_pairs", RUN, "rank"),
                    legend="replica {{rank}}",
                    may_be_empty=_POOL,
                ),
            ),
            width=8,
            height=6,
            low=0,
        ),
        Panel(
            title="Time of a replica for a request",
            about="Mean time that a replica works on one request. Bad: one replica's is longer, "
            "its device is slower or shared.",
            kind="lines",
            queries=(
                Query(
                    expr=mean("teacher_replica_batch_seconds", RUN, "rank"),
                    legend="replica {{rank}}",
                    may_be_empty=_POOL,
                ),
            ),
            unit="s",
            width=8,
            height=6,
            low=0,
        ),
    ),
)
