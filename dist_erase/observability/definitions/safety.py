"""Is the run safe: checkpoints, bad samples, restarts, memory, signs of life?"""

from __future__ import annotations

from dist_erase.observability.definitions.alarms import (
    CHECKPOINT_FAILED,
    CHECKPOINT_TOO_OLD,
    CORRUPT_SAMPLES,
    END_STALLED,
    FORGETTING_STUCK,
    MEMORY_NEAR_LIMIT,
    NOT_FINITE,
    OVER_FORGETTING,
    RANK_MISSING,
)
from dist_erase.observability.definitions.kinds import (
    CHECKPOINT_REASON,
    REASON,
    STREAM,
    Definition,
    Label,
)

_CHECKPOINT = "How much work would be lost now?"
_DIRTY = "How dirty is the data?"
_ALIVE = "Is every process alive, and how often was one restarted?"
_MEMORY = "How near is memory to its limit?"
_SCRAPE = "Are the metrics themselves whole?"
_CHECKPOINT_BUCKETS = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

SAFETY = (
    Definition(
        name="dist_erase_checkpoint_seconds",
        kind="histogram",
        unit="seconds",
        buckets=_CHECKPOINT_BUCKETS,
        dashboard="cluster",
        question="How long do checkpoints take?",
        help="Time this rank took to write one checkpoint, manifest included.",
    ),
    Definition(
        name="dist_erase_checkpoints_total",
        kind="counter",
        labels=(CHECKPOINT_REASON,),
        dashboard="cluster",
        question=_CHECKPOINT,
        help="Checkpoints that this rank took part in, by what they were written for: interval "
        "(train.checkpoint.every_steps), end, best (of the live evaluations), or a stop by "
        "sigterm, by the drain of a node, by request (a stop file), by the end of the launcher.",
    ),
    Definition(
        name="dist_erase_checkpoint_last_step",
        kind="gauge",
        dashboard="cluster",
        question=_CHECKPOINT,
        help="Step of the newest complete checkpoint. Set by rank 0.",
    ),
    Definition(
        name="dist_erase_checkpoint_timestamp_seconds",
        kind="gauge",
        unit="seconds",
        dashboard="cluster",
        question=_CHECKPOINT,
        alerts=(CHECKPOINT_TOO_OLD,),
        help="Unix time since which work would be lost: of the newest complete checkpoint or, if "
        "that is later, of the workers' start; the age is time() minus this. Set by rank 0.",
    ),
    Definition(
        name="dist_erase_checkpoint_size_bytes",
        kind="gauge",
        unit="bytes",
        dashboard="cluster",
        question="How long do checkpoints take?",
        help="Size of the newest complete checkpoint, all ranks together. Set by rank 0.",
    ),
    Definition(
        name="dist_erase_checkpoint_failures_total",
        kind="counter",
        dashboard="cluster",
        question=_CHECKPOINT,
        alerts=(CHECKPOINT_FAILED,),
        help="Checkpoints that this rank could not write.",
    ),
    Definition(
        name="dist_erase_not_finite_steps_total",
        kind="counter",
        dashboard="cluster",
        question="Did a step go wrong?",
        alerts=(NOT_FINITE,),
        help="Steps whose loss or gradient was NaN or infinite; the first one ends the run, so "
        "that neither is ever shown as such.",
    ),
    Definition(
        name="dist_erase_corrupt_samples_total",
        kind="counter",
        labels=(STREAM, REASON),
        dashboard="cluster",
        question=_DIRTY,
        when="a sample is unusable",
        alerts=(CORRUPT_SAMPLES,),
        help="Samples of this rank's batches that were replaced because of their content. Those of "
        "reason overlap, whose image the forget set has too, do not count towards "
        "data.max_corrupt_fraction.",
    ),
    Definition(
        name="dist_erase_worker_attempt",
        kind="gauge",
        dashboard="cluster",
        question=_ALIVE,
        alerts=(RANK_MISSING, FORGETTING_STUCK, OVER_FORGETTING),
        help="How often this run's workers have been started, 1 = never restarted.",
    ),
    Definition(
        name="dist_erase_worker_restarts_total",
        kind="counter",
        dashboard="cluster",
        question=_ALIVE,
        help="Starts of this run's workers after the first, by Ray and by --resume. Counted by "
        "rank 0, kept over restarts.",
    ),
    Definition(
        name="dist_erase_heartbeat_timestamp_seconds",
        kind="gauge",
        unit="seconds",
        dashboard="cluster",
        question=_ALIVE,
        alerts=(RANK_MISSING, MEMORY_NEAR_LIMIT, END_STALLED),
        help="Unix time at which this process last wrote its metrics; every role sets it.",
    ),
    Definition(
        name="dist_erase_ranks_expected",
        kind="gauge",
        role="driver",
        dashboard="cluster",
        question=_ALIVE,
        alerts=(RANK_MISSING,),
        help="How many student ranks this start of the run has. Set by the driver at the start.",
    ),
    Definition(
        name="dist_erase_resident_memory_bytes",
        kind="gauge",
        unit="bytes",
        dashboard="cluster",
        question=_MEMORY,
        help="Memory that this process holds; every role sets it.",
    ),
    Definition(
        name="dist_erase_host_memory_bytes",
        kind="gauge",
        unit="bytes",
        labels=(Label("kind", ("used", "limit")),),
        dashboard="cluster",
        question=_MEMORY,
        alerts=(MEMORY_NEAR_LIMIT,),
        help="Memory of this process's machine or container: in use, and at most; every role sets "
        "it, so take the maximum of a node.",
    ),
    Definition(
        name="dist_erase_device_memory_bytes",
        kind="gauge",
        unit="bytes",
        labels=(Label("kind", ("allocated", "peak", "reserved", "limit")),),
        dashboard="cluster",
        question=_MEMORY,
        when="the process uses a GPU",
        alerts=(MEMORY_NEAR_LIMIT,),
        help="Memory of this process's GPU: held by tensors after the last step (a teacher: "
        "batch), at most during it, held by PyTorch, and all of it; students and teachers set it.",
    ),
    Definition(
        name="dist_erase_exporter_skipped_snapshots_total",
        kind="counter",
        role="exporter",
        dashboard="cluster",
        question=_SCRAPE,
        help="Snapshot files left out of a scrape because they were broken or vanished.",
    ),
    Definition(
        name="dist_erase_exporter_push_failures_total",
        kind="counter",
        role="exporter",
        dashboard="cluster",
        question=_SCRAPE,
        help="Attempts to reach the Pushgateway (observe.pushgateway) that failed.",
    ),
)
