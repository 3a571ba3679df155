"""What the loop works with."""

from __future__ import annotations

from dataclasses import dataclass

from dist_erase.losses.objective import ObjectiveSpec
from dist_erase.observability.emit import Metrics
from dist_erase.teacher.client import TeacherClient
from dist_erase.training.account import BatchAccount
from dist_erase.training.checkpoint import Checkpoints
from dist_erase.training.engine import Engine
from dist_erase.training.flops import Utilisation
from dist_erase.training.hooks import RunLog
from dist_erase.training.live_evaluation import LiveEvaluation
from dist_erase.training.step import TeacherConstants


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of one rank, made by `training.assemble`."""

    engine: Engine
    spec: ObjectiveSpec
    teacher: TeacherClient | None
    constants: TeacherConstants
    checkpoints: Checkpoints
    log: RunLog
    metrics: Metrics
    account: BatchAccount
    attempt: int
    live: LiveEvaluation | None = None
    flops: Utilisation | None = None
