"""The board "Throughput and waits": how fast is it, and what does it wait for?"""

from __future__ import annotations

from dist_erase.observability.definitions.alarms import DATA_WAIT_SHARE
from monitoring.generate.limits import TEACHER_WAIT_SHARE
from monitoring.generate.marks import MARKS
from monitoring.generate.promql import (
    LATELY,
    PLACED,
    RUN,
    last,
    mean,
    phase_share,
    quantile,
    rate,
    where,
)
from monitoring.generate.records import Board, Panel, Query, Row
from monitoring.generate.throughput_teacher import TEACHER

_AT_A_GLANCE = Row(
    title="At a glance",
    panels=(
        Panel(
            title="Pairs per second",
            about="Forget and retain pairs trained on, all ranks together, in the last five "
            "minutes. Bad: it falls while the configuration stayed the same.",
            kind="stat",
            queries=(Query(expr=f"sum({rate('samples_total', window=LATELY)})"),),
            width=3,
            height=4,
            decimals=1,
            base="text",
        ),
        Panel(
            title="Mean step",
            about="Wall time of a step, waits included, mean over the ranks and five minutes. "
            "Checkpoints and evaluations are not in it.",
            kind="stat",
            queries=(Query(expr=mean("step_seconds", RUN, "run", LATELY)),),
            unit="s",
            width=3,
            height=4,
            base="text",
        ),
        Panel(
            title="Waiting for data",
            about="Share of the ranks' time in which no batch was ready. Bad: orange and above; "
            "more data.workers, or a nearer or faster store, would help.",
            kind="gauge",
            queries=(Query(expr=phase_share("data_wait")),),
            unit="percentunit",
            width=3,
            height=4,
            low=0,
            high=1,
            steps=((0.1, "yellow"), (DATA_WAIT_SHARE, "orange"), (0.5, "red")),
        ),
        Panel(
            title="Waiting for the teacher",
            about="Share of the ranks' time in which the teacher's answer was awaited. Bad: orange "
            "and above; more teacher.replicas or a larger teacher.prefetch would help.",
            kind="gauge",
            queries=(Query(expr=phase_share("teacher_wait")),),
            unit="percentunit",
            width=3,
            height=4,
            low=0,
            high=1,
            steps=((0.1, "yellow"), (TEACHER_WAIT_SHARE, "orange"), (0.5, "red")),
        ),
        Panel(
            title="Exchanging with other ranks",
            about="Share of the ranks' time in gathers, agreements and the reduction of gradients, "
            "waiting for slower ranks included. Bad: it grows with the number of ranks.",
            kind="gauge",
            queries=(Query(expr=phase_share("communication")),),
            unit="percentunit",
            width=3,
            height=4,
            low=0,
            high=1,
            steps=((0.2, "yellow"), (0.4, "orange")),
        ),
        Panel(
            title="Computing",
            about="Share of the ranks' time in forward, backward and update. The higher the "
            "better.",
            kind="gauge",
            queries=(Query(expr=phase_share("forward|backward|optimizer|gradients")),),
            unit="percentunit",
            width=3,
            height=4,
            low=0,
            high=1,
            base="red",
            steps=((0.5, "orange"), (0.7, "yellow"), (0.85, "green")),
        ),
        Panel(
            title="Data workers busy",
            about="Share of their time that the processes which read and decode work. Near 100 % "
            "while ranks wait for data: add data.workers. Low while ranks wait: look at the store.",
            kind="gauge",
            queries=(
                Query(
                    expr=f"sum({rate('data_worker_seconds_total', window=LATELY)})"
                    f" / (sum({last('data_workers')}) > 0)",
                    may_be_empty="with data.workers=0 the ranks decode themselves",
                ),
            ),
            unit="percentunit",
            width=3,
            height=4,
            low=0,
            high=1,
            base="blue",
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
            width=3,
            height=4,
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
            "no clock covers. A slow rank shows as communication of the others, who wait for it.",
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
            "and forward, without exchanges. Bad: one line above the others, a straggler that all "
            "wait for.",
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
            width=6,
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
            width=6,
            low=0,
            stacked=True,
        ),
        Panel(
            title="Data workers and idle cores",
            about="Processes that read and decode for a rank, the most its streams allow, and the "
            "cores of its node that nobody uses. Ranks wait for data, workers are busy and cores "
            "idle: raise data.workers to a number that divides the most.",
            kind="stat",
            queries=(
                Query(expr=f"max({last('data_workers')})", legend="workers"),
                Query(expr=f"max({last('data_workers_limit')})", legend="at most"),
                Query(expr=f"min({last('node_idle_cores')})", legend="idle cores"),
            ),
            width=6,
            decimals=0,
            base="text",
        ),
        Panel(
            title="Cache hits",
            about="Share of blocks found in memory, and in the local copy of remote shards. Disk "
            "is low in the first pass; bad: low in later ones, data.block_cache is too small.",
            kind="lines",
            queries=(
                Query(
                    expr=f"sum by (layer) ({rate('block_cache_hits_total', PLACED)}) / "
                    f"(sum by (layer) ({rate('block_cache_queries_total', PLACED)}) > 0)",
                    legend="{{layer}}",
                ),
            ),
            unit="percentunit",
            width=6,
            low=0,
            high=1,
        ),
    ),
)

BOARD = Board(
    uid="dist-erase-throughput",
    title="Throughput and waits",
    about="How fast is the run, and what do its steps wait for?",
    rows=(_AT_A_GLANCE, _STEP, _DATA, TEACHER),
    annotations=MARKS,
)
