"""The board "Throughput and waits": how fast is it, and what does it wait for?"""

from __future__ import annotations

from monitoring.generate.limits import DATA_WAIT_SHARE, TEACHER_WAIT_SHARE
from monitoring.generate.promql import PLACED, RUN, last, mean, phase_share, quantile, rate, where
from monitoring.generate.promql import selector as of
from monitoring.generate.records import Board, Panel, Query, Row
from monitoring.generate.unlearning import MARKS

_POOL = "only with a teacher pool"

_AT_A_GLANCE = Row(
    title="At a glance",
    panels=(
        Panel(
            title="Pairs per second",
            about="Forget and retain pairs trained on, all ranks together. Bad: it falls while "
            "the configuration stayed the same.",
            kind="stat",
            queries=(Query(expr=f"sum({rate('samples_total')})"),),
            width=4,
            height=5,
            decimals=1,
            base="text",
        ),
        Panel(
            title="Mean step",
            about="Wall time of a step, waits included, mean over the ranks. Checkpoints and "
            "evaluations are not in it.",
            kind="stat",
            queries=(Query(expr=mean("step_seconds", RUN, "run")),),
            unit="s",
            width=4,
            height=5,
            base="text",
        ),
        Panel(
            title="Waiting for data",
            about="Share of the ranks' time in which no batch was ready. Bad: orange and above; "
            "more data.workers, or a nearer or faster store, would help.",
            kind="gauge",
            queries=(Query(expr=phase_share("data_wait")),),
            unit="percentunit",
            width=4,
            height=5,
            low=0,
            high=1,
            steps=((0.1, "yellow"), (DATA_WAIT_SHARE, "orange"), (0.5, "red")),
        ),
        Panel(
            title="Waiting for the teacher",
            about="Share of the ranks' time in which the teacher's answer was awaited. Bad: orange "
            "and above; more teacher.replicas or a cache would help.",
            kind="gauge",
            queries=(Query(expr=phase_share("teacher_wait")),),
            unit="percentunit",
            width=4,
            height=5,
            low=0,
            high=1,
            steps=((0.1, "yellow"), (TEACHER_WAIT_SHARE, "orange"), (0.5, "red")),
        ),
        Panel(
            title="Computing",
            about="Share of the ranks' time in forward, backward and update, waiting for other "
            "ranks included. The higher the better.",
            kind="gauge",
            queries=(Query(expr=phase_share("forward|backward|optimizer")),),
            unit="percentunit",
            width=4,
            height=5,
            low=0,
            high=1,
            base="red",
            steps=((0.5, "orange"), (0.7, "yellow"), (0.85, "green")),
        ),
        Panel(
            title="Model FLOPs utilisation",
            about="Floating-point work of student and loss over the device's peak. Published runs "
            "of CLIP reach 0.2 to 0.4. No value: the device's peak is not known.",
            kind="stat",
            queries=(
                Query(
                    expr=f"avg({last('model_flops_ratio')})",
                    may_be_empty="only on devices whose peak is known",
                ),
            ),
            unit="percentunit",
            width=4,
            height=5,
            decimals=1,
            base="text",
        ),
    ),
)

_STEP = Row(
    title="Where the time goes",
    panels=(
        Panel(
            title="Share of time by phase",
            about="What the chosen ranks spent their time on. Waits are lost time; other is what "
            "no clock covers. A slow rank shows as backward of the others, who wait for it there.",
            kind="lines",
            queries=(
                Query(
                    expr=f"sum by (phase) ({rate('phase_seconds_total', PLACED)}) / ignoring "
                    f"(phase) group_left sum({rate('phase_seconds_total', PLACED)})",
                    legend="{{phase}}",
                ),
            ),
            unit="percentunit",
            width=12,
            low=0,
            high=1,
            stacked=True,
        ),
        Panel(
            title="Step time",
            about="Half of the steps, and 95 of 100, were quicker than this. Bad: the two part.",
            kind="lines",
            queries=(
                Query(expr=quantile(0.5, "step_seconds", PLACED), legend="half"),
                Query(expr=quantile(0.95, "step_seconds", PLACED), legend="95 of 100"),
            ),
            unit="s",
            width=6,
            low=0,
        ),
        Panel(
            title="Own work by rank",
            about="Seconds a step that each rank spent on its own: waiting for data and teacher, "
            "and forward. Bad: one line above the others is the straggler that all wait for.",
            kind="lines",
            queries=(
                Query(
                    expr="sum by (rank) ("
                    + rate(
                        "phase_seconds_total",
                        where(PLACED, phase="~data_wait|teacher_wait|forward"),
                    )
                    + f") / sum by (rank) ({rate('step_seconds_count', PLACED)})",
                    legend="rank {{rank}}",
                ),
            ),
            unit="s",
            width=6,
            low=0,
        ),
    ),
)

_DATA = Row(
    title="Data",
    panels=(
        Panel(
            title="Pairs per second by stream",
            about="Of forget and retain set, all chosen ranks together.",
            kind="lines",
            queries=(
                Query(
                    expr=f"sum by (stream) ({rate('samples_total', PLACED)})", legend="{{stream}}"
                ),
            ),
            low=0,
            stacked=True,
        ),
        Panel(
            title="Bytes read",
            about="From shards, before decoding. Bad: at the limit of disk or network while ranks "
            "wait for data.",
            kind="lines",
            queries=(
                Query(
                    expr=f"sum by (stream) ({rate('read_bytes_total', PLACED)})",
                    legend="{{stream}}",
                ),
            ),
            unit="Bps",
            low=0,
            stacked=True,
        ),
        Panel(
            title="Block cache hits",
            about="Share of blocks of remote shards that came from the local cache. Low in the "
            "first pass; bad: low in later ones, the cache is too small.",
            kind="lines",
            queries=(
                Query(
                    expr=f"sum({rate('block_cache_hits_total', PLACED)}) / "
                    f"sum({rate('block_cache_queries_total', PLACED)})",
                    legend="hits",
                    may_be_empty="only with remote shards and a block cache",
                ),
            ),
            unit="percentunit",
            low=0,
            high=1,
        ),
    ),
)

_TEACHER = Row(
    title="Teacher",
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
            width=12,
            height=7,
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
            width=12,
            height=7,
            low=0,
        ),
    ),
)

BOARD = Board(
    uid="dist-erase-throughput",
    title="Throughput and waits",
    about="How fast is the run, and what do its steps wait for?",
    rows=(_AT_A_GLANCE, _STEP, _DATA, _TEACHER),
    annotations=MARKS,
)
