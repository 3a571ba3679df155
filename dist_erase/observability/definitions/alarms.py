"""What alerts fire at: one record each, and the numbers, at which panels turn colour too.

`monitoring/generate/alerts.py` makes Prometheus's rules of them; docs/runbook.md says what to do.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """One alert.

    Attributes:
        name: in CamelCase; the heading of its section in docs/runbook.md.
        limit: the number that it fires at; None where anything at all is too much.
        fires: when it fires, in words.
    """

    name: str
    limit: float | None = None
    fires: str


NO_STEP_MINUTES = 10
STALLED_FOR_MINUTES = 5  # how long that must stay so
# Without a sign of work: between embedding and report lies the ranking of all pairs, which counts
# nothing, and takes minutes with sets of millions. What waits then is a report, not the work.
END_HOURS = 2
NO_PROGRESS_MINUTES = 15
# A cosine: between the level of pairs that were never paired and "still remembered".
SIMILARITY_MARGIN = 0.05
DATA_WAIT_SHARE = 0.30  # of the ranks' time; the console speaks of waits from 0.10 on
# Where data.max_corrupt_fraction allows a run to go on; by default the first one stops it.
CORRUPT_SHARE = 0.005
MEMORY_SHARE = 0.92
CHECKPOINT_AGE_SECONDS = 3600.0
FAILED_CHECKPOINT_HOURS = 1  # how long one is spoken of
HEARTBEAT_AGE_SECONDS = 60.0  # processes write every second
# Of all ranks: Ray needs a minute or two to start dead ones again and load the model.
NO_RANK_SECONDS = 300.0
STRAGGLER_RATIO = 1.5  # own work of the slowest rank over the median rank's

STALLED = Alarm(
    name="DistEraseRunStalled",
    limit=NO_STEP_MINUTES,
    fires=f"no step was finished for {NO_STEP_MINUTES + STALLED_FOR_MINUTES} minutes before the "
    "run's end; from its start on too",
)
END_STALLED = Alarm(
    name="DistEraseEndStalled",
    fires="the last step was done, and the run has neither ended nor embedded a held-out pair for "
    f"{END_HOURS} hours",
)
NOT_FINITE = Alarm(
    name="DistEraseLossNonFinite", fires="the loss or its gradient is NaN or infinite"
)
RETAIN_DAMAGE = Alarm(
    name="DistEraseRetainDamage",
    limit=0.0,
    fires="the retain set has lost more than stop.retain_drop_above",
)
FORGETTING_STUCK = Alarm(
    name="DistEraseForgettingStuck",
    limit=SIMILARITY_MARGIN,
    fires=f"forget pairs' mean over {NO_PROGRESS_MINUTES} minutes is no lower than that of the "
    f"{NO_PROGRESS_MINUTES} minutes before, more than {SIMILARITY_MARGIN:g} above the level of "
    "pairs that were never paired, for five minutes",
)
OVER_FORGETTING = Alarm(
    name="DistEraseOverForgetting",
    limit=SIMILARITY_MARGIN,
    fires=f"forget pairs are more than {SIMILARITY_MARGIN:g} below the level of pairs that were "
    "never paired, in the mean of five minutes and for five minutes",
)
POOL_DEGRADED = Alarm(
    name="DistEraseTeacherPoolDegraded",
    limit=1.0,
    fires="a teacher replica does not answer for two minutes",
)
DATA_STARVATION = Alarm(
    name="DistEraseDataStarvation",
    limit=DATA_WAIT_SHARE,
    fires=f"ranks wait for data more than {DATA_WAIT_SHARE:.0%} of their time, for ten minutes",
)
CORRUPT_SAMPLES = Alarm(
    name="DistEraseCorruptSamples",
    limit=CORRUPT_SHARE,
    fires=f"more than {CORRUPT_SHARE:.1%} of the forget or the retain samples had to be "
    "replaced, overlap apart, for five minutes",
)
CHECKPOINT_FAILED = Alarm(
    name="DistEraseCheckpointFailed",
    fires=f"a checkpoint could not be written within the last {FAILED_CHECKPOINT_HOURS} hour",
)
CHECKPOINT_TOO_OLD = Alarm(
    name="DistEraseCheckpointTooOld",
    limit=CHECKPOINT_AGE_SECONDS,
    fires=f"a crash would cost more than {CHECKPOINT_AGE_SECONDS / 3600:g} hour of work",
)
MEMORY_NEAR_LIMIT = Alarm(
    name="DistEraseMemoryNearLimit",
    limit=MEMORY_SHARE,
    fires=f"more than {MEMORY_SHARE:.0%} of a node's or a GPU's memory is in use, for two minutes",
)
RANK_MISSING = Alarm(
    name="DistEraseRankMissing",
    limit=HEARTBEAT_AGE_SECONDS,
    fires=f"a rank is silent for {HEARTBEAT_AGE_SECONDS:g} seconds while others write, and a "
    "minute more; or all ranks of a run that is not at its end are, for six minutes",
)
STRAGGLER = Alarm(
    name="DistEraseStraggler",
    limit=STRAGGLER_RATIO,
    fires=f"a rank's own work takes more than {STRAGGLER_RATIO:g} times the median rank's (of two "
    "ranks: the other's), for ten minutes",
)
UNREACHABLE = Alarm(
    name="DistEraseMetricsUnreachable",
    fires="a run's metrics address does not answer for two minutes",
)
ALARMS = (
    *(STALLED, END_STALLED, NOT_FINITE, RETAIN_DAMAGE, FORGETTING_STUCK, OVER_FORGETTING),
    *(POOL_DEGRADED, DATA_STARVATION, CORRUPT_SAMPLES, CHECKPOINT_FAILED, CHECKPOINT_TOO_OLD),
    *(MEMORY_NEAR_LIMIT, RANK_MISSING, STRAGGLER, UNREACHABLE),
)
