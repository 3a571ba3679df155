"""Is the teacher well?"""

from __future__ import annotations

from dist_erase.observability.definitions.alarms import POOL_DEGRADED
from dist_erase.observability.definitions.kinds import (
    REASON,
    REPLICA,
    STEP_BUCKETS,
    Definition,
)

_LATENCY = "How long do answers of the teacher take?"
_LOAD = "Are the replicas busy, and alike?"
_UP = "Are all replicas up, and what was asked twice?"

TEACHER = (
    Definition(
        name="dist_erase_teacher_requests_total",
        kind="counter",
        dashboard="throughput",
        question=_LATENCY,
        help="Batches this rank has asked the teacher about, resubmissions not counted.",
    ),
    Definition(
        name="dist_erase_teacher_request_seconds",
        kind="histogram",
        unit="seconds",
        buckets=STEP_BUCKETS,
        dashboard="throughput",
        question=_LATENCY,
        help="Time from handing a batch to the teacher to its answer, as this rank saw it.",
    ),
    Definition(
        name="dist_erase_teacher_requests_in_flight",
        kind="gauge",
        dashboard="throughput",
        question=_LOAD,
        help="Batches this rank has handed to the teacher and has no answer to yet.",
    ),
    Definition(
        name="dist_erase_teacher_resubmissions_total",
        kind="counter",
        dashboard="cluster",
        question=_UP,
        help="Batches this rank sent to another replica after the first one failed.",
    ),
    Definition(
        name="dist_erase_teacher_failures_total",
        kind="counter",
        labels=(REASON,),
        dashboard="cluster",
        question=_UP,
        when="a replica died or was late",
        help="Teacher requests that failed, as this rank saw it, by reason.",
    ),
    Definition(
        name="dist_erase_teacher_replica_up",
        kind="gauge",
        role="driver",
        labels=(REPLICA,),
        dashboard="cluster",
        question=_UP,
        alerts=(POOL_DEGRADED,),
        help="1 while the teacher replica works, 0 after it was found dead or hanging.",
    ),
    Definition(
        name="dist_erase_teacher_replica_restarts_total",
        kind="counter",
        role="driver",
        labels=(REPLICA,),
        dashboard="cluster",
        question=_UP,
        help="How often the process of a teacher replica was found to be another one.",
    ),
    Definition(
        name="dist_erase_teacher_replica_pairs_total",
        kind="counter",
        role="teacher",
        dashboard="throughput",
        question=_LOAD,
        help="Pairs this replica has embedded since its process started.",
    ),
    Definition(
        name="dist_erase_teacher_replica_batch_pairs",
        kind="histogram",
        role="teacher",
        buckets=(8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192),
        dashboard="throughput",
        question=_LOAD,
        help="Pairs in one request to this replica.",
    ),
    Definition(
        name="dist_erase_teacher_replica_queued_requests",
        kind="gauge",
        role="teacher",
        dashboard="throughput",
        question=_LOAD,
        help="Requests that wait in this replica or are being worked on.",
    ),
    Definition(
        name="dist_erase_teacher_replica_batch_seconds",
        kind="histogram",
        unit="seconds",
        role="teacher",
        buckets=STEP_BUCKETS,
        dashboard="throughput",
        question=_LATENCY,
        help="Time this replica took to embed one request.",
    ),
)
