"""The board "Cluster and reliability": is everything alive, and is the work safe?"""

from __future__ import annotations

from dist_erase.observability.definitions.alarms import (
    CHECKPOINT_AGE_SECONDS,
    CORRUPT_SHARE,
    HEARTBEAT_AGE_SECONDS,
    MEMORY_SHARE,
)
from monitoring.generate.cluster_detail import DEVICES, MEMORY, WHAT_RUNS
from monitoring.generate.marks import MARKS
from monitoring.generate.promql import PLACED, RUN, events, last, mean, where
from monitoring.generate.promql import selector as of
from monitoring.generate.records import Board, Panel, Query, Row

_POOL = "only with a teacher pool"
_NOTHING_WRONG = "only where a replica died or was late"
_ALL_USABLE = "only where a sample is unusable"

_fresh = (
    f"(time() - {of('heartbeat_timestamp_seconds', where(RUN, role='student'))}) < "
    f"{HEARTBEAT_AGE_SECONDS:g}"
)
_ALIVE_NOW = f"(time() - {of('heartbeat_timestamp_seconds', RUN)} < {HEARTBEAT_AGE_SECONDS:g})"

_UNUSABLE = where(RUN, reason="!overlap")
_READ = f"sum by (stream) ({last('samples_total')})"

_AT_A_GLANCE = Row(
    title="At a glance",
    panels=(
        Panel(
            title="Ranks alive",
            about="Training processes that wrote metrics within the last minute. Bad: fewer than "
            "ray.workers while the run trains. None before and after training.",
            kind="stat",
            queries=(
                Query(expr=f"count({_fresh}) or vector(0)", legend="alive"),
                Query(expr=f"max({last('ranks_expected')})", legend="expected"),
            ),
            width=3,
            height=4,
            decimals=0,
            base="red",
            steps=((1, "green"),),
        ),
        Panel(
            title="Teacher replicas that answer",
            about="Share of the pool. Bad: below 100 % for longer than a restart takes.",
            kind="stat",
            queries=(Query(expr=f"avg({last('teacher_replica_up')})", may_be_empty=_POOL),),
            unit="percentunit",
            width=3,
            height=4,
            base="red",
            steps=((0.5, "orange"), (1.0, "green")),
        ),
        Panel(
            title="Restarts of workers",
            about="Deaths that Ray mended by starting the workers again from a checkpoint.",
            kind="stat",
            queries=(Query(expr=f"max({last('worker_restarts_total')})"),),
            width=3,
            height=4,
            decimals=0,
            steps=((1, "yellow"), (3, "red")),
        ),
        Panel(
            title="Age of the newest checkpoint",
            about="Work that a crash now would cost. Bad: longer than you would like to lose; "
            "lower train.checkpoint.every_steps.",
            kind="stat",
            queries=(Query(expr=f"time() - max({of('checkpoint_timestamp_seconds', RUN)})"),),
            unit="s",
            width=3,
            height=4,
            decimals=0,
            steps=((CHECKPOINT_AGE_SECONDS / 2, "yellow"), (CHECKPOINT_AGE_SECONDS, "red")),
        ),
        Panel(
            title="Failures",
            about="How often in the time shown a rank could not write its checkpoint, all starts "
            "of the run together; and steps whose loss or gradient was not finite, which end a "
            "run. Bad: any.",
            kind="stat",
            queries=(
                Query(
                    expr=f"sum({events('checkpoint_failures_total', '$__range')})",
                    legend="checkpoints",
                ),
                Query(expr=f"max({last('not_finite_steps_total')})", legend="not finite"),
            ),
            width=3,
            height=4,
            decimals=0,
            steps=((1, "red"),),
        ),
        Panel(
            title="Unusable samples",
            about="Share of the pairs that were replaced because of their content, of forget or "
            "retain set, whichever is worse. Those of reason overlap are replaced by design and "
            "do not count.",
            kind="stat",
            queries=(
                Query(
                    expr=f"max((sum by (stream) ({last('corrupt_samples_total', _UNUSABLE)})"
                    f" or 0 * {_READ}) / {_READ})"
                ),
            ),
            unit="percentunit",
            width=3,
            height=4,
            decimals=2,
            steps=((CORRUPT_SHARE / 5, "yellow"), (CORRUPT_SHARE, "red")),
        ),
        Panel(
            title="Fullest host memory",
            about="Memory in use on the node that is worst off. Bad: red; the kernel then kills "
            "processes.",
            kind="gauge",
            queries=(
                Query(
                    expr=f"max(({of('host_memory_bytes', where(RUN, kind='used'))}"
                    f" and on (role, rank, node) {_ALIVE_NOW})"
                    f" / ignoring (kind) {of('host_memory_bytes', where(RUN, kind='limit'))})"
                ),
            ),
            unit="percentunit",
            width=3,
            height=4,
            low=0,
            high=1,
            steps=((0.8, "orange"), (MEMORY_SHARE, "red")),
        ),
        Panel(
            title="Alerts firing",
            about="Rules of monitoring/alerts that fire for this run now.",
            kind="stat",
            queries=(Query(expr=f'count(ALERTS{{{RUN},alertstate="firing"}}) or vector(0)'),),
            width=3,
            height=4,
            decimals=0,
            steps=((1, "red"),),
        ),
    ),
)

_ALIVE = Row(
    title="Who is alive",
    panels=(
        Panel(
            title="Silence of each process",
            about="Seconds since each process last wrote its metrics; it writes every second. "
            "Bad: a line that rises while the others stay down. Students rise together once "
            "training is over.",
            kind="lines",
            queries=(
                Query(
                    expr=f"time() - {of('heartbeat_timestamp_seconds', PLACED)}",
                    legend="{{role}} {{rank}}",
                ),
            ),
            unit="s",
            low=0,
            steps=((HEARTBEAT_AGE_SECONDS, "red"),),
            limit_line=True,
        ),
        Panel(
            title="Teacher replicas",
            about="Each replica over time. A short red piece is a death that Ray mended.",
            kind="states",
            queries=(
                Query(
                    expr=f"max by (replica) ({of('teacher_replica_up', RUN)})",
                    legend="replica {{replica}}",
                    may_be_empty=_POOL,
                ),
            ),
            states=((0, "does not answer", "red"), (1, "answers", "green")),
        ),
        Panel(
            title="Teacher requests that failed",
            about="Failures by reason and batches asked for again elsewhere, in all. A death of a "
            "replica makes a few; bad: they keep coming.",
            kind="lines",
            queries=(
                Query(
                    expr=f"sum by (reason) ({of('teacher_failures_total', RUN)})",
                    legend="failed: {{reason}}",
                    may_be_empty=_NOTHING_WRONG,
                ),
                Query(expr=f"sum({of('teacher_resubmissions_total', RUN)})", legend="asked again"),
                Query(
                    expr=f"sum({of('teacher_replica_restarts_total', RUN)})",
                    legend="replicas started again",
                ),
            ),
            low=0,
        ),
    ),
)

_SAFE = Row(
    title="Is the work safe?",
    panels=(
        Panel(
            title="Steps and checkpoints",
            about="What lies between the lines would be done again after a crash. A drop of the "
            "upper line is a restart.",
            kind="lines",
            queries=(
                Query(expr=f"max({of('step', RUN)})", legend="step"),
                Query(
                    expr=f"max({of('checkpoint_last_step', RUN)})",
                    legend="newest checkpoint",
                    dashed=True,
                ),
            ),
            width=5,
            low=0,
        ),
        Panel(
            title="Checkpoints by reason",
            about="What each was written for; sigterm, drain, request and launcher are stops, "
            "after which the run can be resumed.",
            kind="lines",
            queries=(
                Query(
                    expr=f"max by (reason) ({of('checkpoints_total', RUN)})",
                    legend="{{reason}}",
                ),
            ),
            width=4,
            low=0,
        ),
        Panel(
            title="Time to write a checkpoint",
            about="Mean of the ranks. The run stands still meanwhile.",
            kind="lines",
            queries=(
                Query(
                    expr=mean("checkpoint_seconds", RUN, "run"),
                    legend="mean",
                    may_be_empty="between checkpoints",
                ),
            ),
            unit="s",
            width=5,
            low=0,
        ),
        Panel(
            title="Size of a checkpoint",
            about="All ranks' parts together; train.checkpoint.keep_last of them are kept.",
            kind="lines",
            queries=(Query(expr=f"max({of('checkpoint_size_bytes', RUN)})", legend="newest"),),
            unit="bytes",
            width=5,
            low=0,
        ),
        Panel(
            title="Unusable samples by reason",
            about="Samples replaced because of their content, in all; quarantine.jsonl lists "
            "them. Bad: a steady rise, a shard is broken. Overlap is no fault: a retain image "
            "that the forget set has too.",
            kind="lines",
            queries=(
                Query(
                    expr=f"sum by (stream, reason) ({of('corrupt_samples_total', RUN)})",
                    legend="{{stream}}: {{reason}}",
                    may_be_empty=_ALL_USABLE,
                ),
            ),
            width=5,
            low=0,
        ),
    ),
)

BOARD = Board(
    uid="dist-erase-cluster",
    title="Cluster and reliability",
    about="Is every process alive, is the work safe, is there room?",
    rows=(_AT_A_GLANCE, _ALIVE, _SAFE, MEMORY, WHAT_RUNS, DEVICES),
    annotations=MARKS,
)
