"""When the loop writes a checkpoint, and what is told of it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from safetensors import SafetensorError

from dist_erase.distributed.context import RankContext
from dist_erase.errors import InterruptedRunError, StopAsked
from dist_erase.observability.definitions.kinds import CheckpointReason
from dist_erase.training.checkpoint import Progress
from dist_erase.training.parts import Parts
from dist_erase.training.recipe import Recipe


def why_now(recipe: Recipe, progress: Progress, *, is_best: bool) -> CheckpointReason | None:
    """Why a checkpoint is due after this step; None = it is not."""
    if progress.stopped or progress.step == recipe.data.steps:
        return "end"
    if progress.step % recipe.train.checkpoint.every_steps == 0:
        return "interval"
    return "best" if is_best else None


def save(
    parts: Parts,
    progress: Progress,
    context: RankContext,
    *,
    why: CheckpointReason,
    is_best: bool,
) -> None:
    """Writes a checkpoint of the steps done, and tells of it (a collective).

    Raises:
        OSError: it could not be written; counted.
    """
    started, step = time.monotonic(), progress.step
    complete = replace(progress, optimizer_steps=parts.engine.optimizer_steps())
    try:
        path = parts.checkpoints.save(parts.engine, complete, is_best=is_best)
    except (OSError, SafetensorError):
        parts.metrics.checkpoint_failures_total.inc(1)
        raise
    seconds = time.monotonic() - started
    parts.metrics.checkpoint_seconds.observe(seconds)
    parts.metrics.checkpoints_total.inc(1, why)
    parts.metrics.phase_seconds_total.inc(seconds, "checkpoint")
    if context.is_first:
        parts.metrics.checkpoint_last_step.set(step)
        parts.metrics.checkpoint_timestamp_seconds.set(time.time())
        parts.metrics.checkpoint_size_bytes.set(_size(path))
    words = f"{path.name} written in {seconds:.1f} s ({why})"
    parts.log.event("checkpoint", step, words, seconds=seconds)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def interrupt(
    parts: Parts, progress: Progress, saved_step: int, asked: StopAsked, context: RankContext
) -> NoReturn:
    """Saves what no checkpoint has yet; the batch at hand is left to whoever resumes.

    A signal leaves half a minute, and a step of a large model may take that long.

    Raises:
        InterruptedRunError: always.
    """
    if progress.step > saved_step:
        save(parts, progress, context, why=asked.kind, is_best=False)
    parts.log.event("interrupted", progress.step, f"asked to stop by {asked.words}")
    raise InterruptedRunError(progress.step, asked)
