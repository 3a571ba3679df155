"""How far is the run, and does the optimiser behave?"""

from __future__ import annotations

from dist_erase.observability.definitions.alarms import (
    CHECKPOINT_TOO_OLD,
    END_STALLED,
    FORGETTING_STUCK,
    POOL_DEGRADED,
    RANK_MISSING,
    STALLED,
)
from dist_erase.observability.definitions.kinds import Definition, Label

_FAR = "How far is the run?"
_OPTIMISER = "Does the optimiser behave?"
_FACTS = ("version", "config_hash", "world_size", "ray_job_id")
_VERSIONS = ("python", "torch", "deepspeed", "ray", "open_clip")

PROGRESS = (
    Definition(
        name="dist_erase_step",
        kind="gauge",
        dashboard="progress",
        question=_FAR,
        alerts=(
            *(STALLED, END_STALLED, FORGETTING_STUCK, POOL_DEGRADED),
            *(CHECKPOINT_TOO_OLD, RANK_MISSING),
        ),
        help="Number of the last finished optimiser step, kept over restarts; 0 before the first.",
    ),
    Definition(
        name="dist_erase_steps_planned",
        kind="gauge",
        dashboard="progress",
        question=_FAR,
        alerts=(
            *(STALLED, END_STALLED, FORGETTING_STUCK, POOL_DEGRADED),
            *(CHECKPOINT_TOO_OLD, RANK_MISSING),
        ),
        help="Number of the step that ends the run: the last one planned or, where goals or the "
        "budget of damage end it earlier, the last one done. Set by rank 0.",
    ),
    Definition(
        name="dist_erase_epoch",
        kind="gauge",
        dashboard="progress",
        question=_FAR,
        help="Passes so far over the set named by data.epoch_of, with fraction. Set by rank 0.",
    ),
    Definition(
        name="dist_erase_learning_rate",
        kind="gauge",
        dashboard="progress",
        question=_OPTIMISER,
        help="Learning rate of the last step. Set by rank 0.",
    ),
    Definition(
        name="dist_erase_logit_scale",
        kind="gauge",
        dashboard="progress",
        question=_OPTIMISER,
        help="The student's temperature factor exp(logit_scale) after the last step. Set by "
        "rank 0.",
    ),
    Definition(
        name="dist_erase_gradient_norm",
        kind="gauge",
        dashboard="progress",
        question=_OPTIMISER,
        help="Global L2 norm of the gradient of the last step, before clipping. Set by rank 0.",
    ),
    Definition(
        name="dist_erase_run_start_timestamp_seconds",
        kind="gauge",
        unit="seconds",
        role="exporter",
        dashboard="progress",
        question=_FAR,
        alerts=(STALLED,),
        help="Unix time at which this run was last started, be it by --resume or --overwrite; the "
        "same at each of its addresses, and their label start.",
    ),
    Definition(
        name="dist_erase_run_exit_code",
        kind="gauge",
        role="driver",
        dashboard="progress",
        question=_FAR,
        alerts=(STALLED, END_STALLED, RANK_MISSING),
        help="How the run ended, as its exit code; absent until then, and served in the time of "
        "grace.",
    ),
    Definition(
        name="dist_erase_run_info",
        kind="info",
        role="driver",
        labels=tuple(map(Label, (*_FACTS, *_VERSIONS))),
        dashboard="compare",
        question="What differs between these runs?",
        help="What runs: versions, hash of the configuration, number of student ranks, Ray's job "
        "id (empty without Ray).",
    ),
)
