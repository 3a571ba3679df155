"""Workers that find no place again after a node was lost: an interruption, not a bug."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ray.train.v2._internal.exceptions import (
    WorkerGroupStartupFailedError,
    WorkerGroupStartupTimeoutError,
)
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError

from dist_erase.config.run import RunConfig
from dist_erase.errors import InterruptedRunError, StopAsked
from dist_erase.orchestration.cluster import resources_in_words
from dist_erase.training.checkpoint import newest_step

_SECONDS = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"  # Ray Train's own
_SHORTEST = 60  # its default


class NoPlaceError(InterruptedRunError):
    """The newest checkpoint stands, and there is nowhere to go on from it."""

    def __str__(self) -> str:
        """The one line that the user reads."""
        stands = "there is no checkpoint" if self.step is None else f"step {self.step} is saved"
        return f"{self.asked.words}; {stands}; {self.go_on}, also with fewer ray.workers"


@contextmanager
def time_to_start(config: RunConfig) -> Iterator[None]:
    """Inside, Ray Train waits for workers as long as an autoscaler may take to bring their nodes.

    The user's own setting of its variable stands.
    """
    before = os.environ.get(_SECONDS)
    os.environ.setdefault(_SECONDS, str(max(_SHORTEST, config.ray.autoscale_seconds)))
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SECONDS]


def no_place(error: TrainingFailedError, config: RunConfig, folder: Path) -> NoPlaceError | None:
    """What Ray Train's error says if it is that; None of any other error.

    Workers that die while they start count too once there is a checkpoint: before that, they would
    die at each further start.
    """
    cause = error.controller_failure if isinstance(error, ControllerError) else None
    step = newest_step(folder / "checkpoints")
    timed_out = isinstance(cause, WorkerGroupStartupTimeoutError)
    died = isinstance(cause, WorkerGroupStartupFailedError) and step is not None
    if not timed_out and not died:
        return None
    asked, present = resources_in_words(config)
    words = f"the workers found no place again (asked {asked}; in the cluster {present})"
    return NoPlaceError(step, StopAsked("launcher", words))
