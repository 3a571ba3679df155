"""Time: next batch, step, what is written of it, checkpoint, stop. Knows nothing of Ray."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dist_erase.batch import PairBatch
from dist_erase.data.pairs import PairStream
from dist_erase.distributed.clock import COLLECTIVES, seconds_of
from dist_erase.distributed.context import RankContext
from dist_erase.errors import UserError
from dist_erase.observability.device import record_device_memory
from dist_erase.observability.rows import StepRow
from dist_erase.training.account import Agreed
from dist_erase.training.ahead import Ahead, Taken
from dist_erase.training.checkpoint import Progress
from dist_erase.training.hooks import record_means, record_step
from dist_erase.training.live_evaluation import Verdict
from dist_erase.training.parts import Parts
from dist_erase.training.recipe import Recipe
from dist_erase.training.saving import interrupt, save, why_now
from dist_erase.training.schedule import lr_factor
from dist_erase.training.step import NotFiniteError, StepResult, training_step


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended.

    Attributes:
        steps: done in all, over all attempts.
        seconds: wall time of these steps; what a killed attempt did beyond its last checkpoint
            does not count.
        samples_per_second: over these steps, all ranks.
        stopped: why it ended before the planned steps; None if it did not.
    """

    steps: int
    seconds: float
    samples_per_second: float
    stopped: str | None


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """A step that has its batch, and what the ranks agree on about it.

    Attributes:
        at: when it began, by the monotonic clock; `agreeing`: seconds of the agreement.
    """

    at: float
    taken: Taken
    agreed: Agreed
    agreeing: float


def run_steps(
    recipe: Recipe,
    parts: Parts,
    stream: Callable[[int], PairStream],
    progress: Progress,
    context: RankContext,
) -> Outcome:
    """Trains from `progress.step` to the planned end.

    Raises:
        InterruptedRunError: asked to stop; a checkpoint of all steps done was written first.
        UserError: the objective is not finite; the last checkpoint stands.
    """
    start_step, steps = progress.step, recipe.data.steps
    saved_step = start_step
    batches = stream(start_step)
    parts.metrics.data_workers_limit.set(batches.most_workers)
    parts.metrics.step.set(start_step)
    _say_the_end(parts, steps, context)
    ahead = Ahead(
        batches, parts.teacher, parts.spec, prefetch=recipe.prefetch, steps=steps - start_step
    )
    floor = torch.tensor(progress.floor, device=context.device) if progress.floor else None
    try:
        progress = _before_first_step(recipe, parts, progress)
        if progress.stopped:
            _say_the_end(parts, start_step, context)
        started = time.monotonic() - progress.seconds
        for step in range(start_step + 1, 0 if progress.stopped else steps + 1):
            begun = _begin_step(parts, ahead)
            if begun.agreed.stop is not None:
                interrupt(parts, progress, saved_step, begun.agreed.stop, context)
            row = _train_step(recipe, parts, begun, floor, step, context)
            progress = replace(
                progress,
                step=step,
                samples=progress.samples + row["samples"],
                seconds=time.monotonic() - started,
            )
            is_best = False
            if parts.live is not None and parts.live.due(step):
                verdict = _evaluate(parts, step, retain_before=progress.retain_before)
                is_best = progress.best is None or verdict.score > progress.best
                progress = replace(
                    progress,
                    best=verdict.score if is_best else progress.best,
                    stopped=verdict.stop,
                )
            is_best = is_best and recipe.train.checkpoint.keep_best
            why = why_now(recipe, progress, is_best=is_best)
            if why is not None:
                save(parts, progress, context, why=why, is_best=is_best)
                saved_step = step
            if progress.stopped:
                parts.log.event("stop", step, progress.stopped)
                _say_the_end(parts, step, context)
                break
    except NotFiniteError:
        parts.metrics.not_finite_steps_total.inc(1)
        raise
    finally:
        batches.close()
    return Outcome(
        steps=progress.step,
        seconds=progress.seconds,
        samples_per_second=progress.samples / progress.seconds,
        stopped=progress.stopped,
    )


def _say_the_end(parts: Parts, step: int, context: RankContext) -> None:
    if context.is_first:
        parts.metrics.steps_planned.set(step)


def _before_first_step(recipe: Recipe, parts: Parts, progress: Progress) -> Progress:
    """With the original model's figures, which a budget of damage is counted from."""
    if progress.step > 0:
        if recipe.stop.get("retain_drop_above") is not None and progress.retain_before is None:
            raise UserError(
                "stop.retain_drop_above",
                "the run began without live evaluation, so the drop has no beginning.",
                "Remove it, or start the run anew with evaluate.every_steps.",
            )
        return _judged_again(recipe, parts, progress)
    if parts.live is None:
        return progress
    verdict = _evaluate(parts, 0, retain_before=None)
    return replace(progress, retain_before=verdict.retain)


def _judged_again(recipe: Recipe, parts: Parts, progress: Progress) -> Progress:
    """Whether a run that was stopped early stays so under the goals it is resumed with."""
    if progress.stopped is None or progress.step >= recipe.data.steps:
        return progress
    if parts.live is None:
        return replace(progress, stopped=None)
    verdict = _evaluate(parts, progress.step, retain_before=progress.retain_before)
    return replace(progress, stopped=verdict.stop)


def _evaluate(parts: Parts, step: int, *, retain_before: float | None) -> Verdict:
    assert parts.live is not None
    started = time.monotonic()
    verdict = parts.live.run(step, retain_before=retain_before)
    parts.metrics.phase_seconds_total.inc(time.monotonic() - started, "evaluation")
    return verdict


def _begin_step(parts: Parts, ahead: Ahead) -> _Begun:
    """Takes the next batch and agrees on it (a collective)."""
    started = time.monotonic()
    taken = ahead.take()
    parts.log.quarantined(taken.batch)
    COLLECTIVES.pop()  # those of a checkpoint or an evaluation belong there
    agreed = parts.account.take(taken.batch)
    agreeing = seconds_of(COLLECTIVES.pop())
    return _Begun(at=started, taken=taken, agreed=agreed, agreeing=agreeing)


def _train_step(
    recipe: Recipe,
    parts: Parts,
    begun: _Begun,
    floor: Tensor | None,
    step: int,
    context: RankContext,
) -> StepRow:
    """Trains on the batch; gives the step's row."""
    taken = begun.taken
    lr = recipe.train.lr * lr_factor(
        step - 1,
        steps=recipe.data.steps,
        warmup_steps=recipe.train.warmup_steps,
        schedule=recipe.train.schedule,
    )
    result = training_step(
        parts.engine,
        parts.spec,
        taken.batch,
        teacher=taken.answer,
        constants=parts.constants,
        floor=_floor_of(floor, taken.batch),
        lr=lr,
        micro_batch=recipe.train.micro_batch,
        context=context,
        measure_gradients=recipe.gradients_every > 0 and (step - 1) % recipe.gradients_every == 0,
    )
    seconds = time.monotonic() - begun.at
    row = _row(recipe, parts, floor, step, lr, taken, result, seconds, context)
    row["seconds"]["communication"] += begun.agreeing
    row["batch"] = begun.agreed.digest
    stats = None if parts.teacher is None else parts.teacher.stats()
    if stats is not None:
        row["teacher"] = {"in_flight": stats.in_flight, "resubmitted": stats.resubmitted}
    parts.log.step(row)
    record_step(parts.metrics, row, taken.batch, stats)
    record_device_memory(parts.metrics, context.device)
    if parts.flops is not None:
        parts.metrics.model_flops_ratio.set(
            parts.flops.of_step(taken.batch, row["seconds"]["step"])
        )
    if context.is_first:
        record_means(parts.metrics, row, result)
    return row


def _floor_of(floor: Tensor | None, batch: PairBatch) -> Tensor | None:
    """One number for all, or each forget pair's own."""
    if floor is None or batch.forget is None:
        return None
    return floor[0] if len(floor) == 1 else floor[batch.forget.positions.to(floor.device)]


def _row(
    recipe: Recipe,
    parts: Parts,
    floor: Tensor | None,
    step: int,
    lr: float,
    taken: Taken,
    result: StepResult,
    seconds: float,
    context: RankContext,
) -> StepRow:
    batch = taken.batch
    samples = (len(batch.retain) + (len(batch.forget) if batch.forget else 0)) * context.world
    figures = result.measures.figures
    return StepRow(
        step=step,
        steps=recipe.data.steps,
        attempt=parts.attempt,
        time=time.time(),
        loss=result.losses,
        similarity={
            name.removesuffix("_similarity"): value
            for name, value in figures.items()
            if name.endswith("_similarity")
        },
        mismatched=result.measures.mismatched,
        floor=None if floor is None else float(floor.double().mean()),
        lr=lr,
        grad_norm=result.grad_norm,
        seconds={
            "step": seconds,
            "data_wait": taken.data_wait,
            "teacher_wait": taken.teacher_wait,
            **result.seconds,
        },
        samples=samples,
        samples_per_second=samples / seconds,
        epoch=recipe.data.epoch(step),
        forget_passes=recipe.data.forget_passes(step),
    )
