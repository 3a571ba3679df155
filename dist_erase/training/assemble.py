"""One rank's run from recipe to exported model: restore, floor, stream, steps, export."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from dist_erase.data.order import ORDER_VERSION
from dist_erase.data.pairs import PairStream
from dist_erase.data.set_index import same_content
from dist_erase.distributed.context import RankContext, limit_waits
from dist_erase.errors import UserError
from dist_erase.losses.objective import ObjectiveSpec
from dist_erase.models.export import export_model
from dist_erase.models.fingerprint import fingerprint
from dist_erase.models.resolve import exp_scale, load_tokenizer
from dist_erase.models.student import Student
from dist_erase.observability.device import peak_flops
from dist_erase.observability.emit import Metrics
from dist_erase.teacher.client import TeacherClient
from dist_erase.training.account import BatchAccount
from dist_erase.training.attempts import count_attempt
from dist_erase.training.checkpoint import Checkpoints, Progress, Saved
from dist_erase.training.deepspeed_config import deepspeed_json
from dist_erase.training.engine import Engine, make_optimizer
from dist_erase.training.floor import measure_floor
from dist_erase.training.flops import Utilisation, measure_flops
from dist_erase.training.hooks import RunLog
from dist_erase.training.live_evaluation import LiveEvaluation
from dist_erase.training.loop import Outcome, run_steps
from dist_erase.training.parts import Parts
from dist_erase.training.recipe import Recipe
from dist_erase.training.step import TeacherConstants


def train(
    recipe: Recipe,
    *,
    folder: Path,
    context: RankContext,
    teacher: TeacherClient | None,
    metrics: Metrics,
) -> Outcome:
    """Runs one rank until the planned steps are done (collectives throughout).

    Starts from the newest complete checkpoint in `folder`, if there is one, and leaves the
    exported model in `folder/model`.

    Raises:
        InterruptedRunError: asked to stop; a checkpoint was written first.
        UserError: what is wrong with model, data or world size.
    """
    recipe.data.check_world(context.world, where="ray.workers")
    log = RunLog(folder, writes_rows=context.is_first)
    attempt = context.from_first(lambda: count_attempt(folder))
    checkpoints = Checkpoints(
        folder / "checkpoints",
        context,
        keep_last=recipe.train.checkpoint.keep_last,
        attempt=attempt,
    )
    torch.manual_seed(recipe.seed)  # initial weights of a model from scratch
    student = Student(
        recipe.source,
        precision=recipe.train.precision,
        logit_scale=recipe.train.logit_scale,
        towers=recipe.towers,
        freeze_statistics=recipe.freeze_statistics,
    )
    constants = _teacher_constants(student)
    identity = context.from_first(lambda: _identity(recipe, student))
    saved = checkpoints.newest()
    if saved is not None:
        _check_same_run(saved, recipe, identity)
        student.clip.load_state_dict(saved.weights)
    engine = _build_engine(recipe, student, context)
    if recipe.rank_timeout_seconds is not None:
        limit_waits(recipe.rank_timeout_seconds)
    tokenizer = load_tokenizer(recipe.source)
    if saved is None:
        floor = measure_floor(recipe, student, teacher, tokenizer, context)
        progress = Progress(step=0, floor=floor, order_version=ORDER_VERSION, identity=identity)
    else:
        engine.restore_optimizer(saved.optimizer, saved.progress.optimizer_steps)
        progress = saved.progress
        del saved  # three times the model
    log.event("start", progress.step, _what_is_ahead(recipe, attempt, context))
    for fault in recipe.data.faults:
        log.event("fault", progress.step, fault)
    spec = recipe.objective(student.family)
    metrics.worker_attempt.set(attempt)
    if context.is_first:
        _tell_beginning(metrics, progress, spec, attempt=attempt)

    def stream(step: int) -> PairStream:
        pairs = PairStream(
            retain=recipe.data.retain,
            forget=recipe.data.forget,
            image=student.image_spec,
            tokenizer=tokenizer,
            rank=context.rank,
            world=context.world,
            workers=recipe.workers,
            start_step=step,
            seed=recipe.seed,
            augment=recipe.augment,
            cache_bytes=recipe.cache_bytes,
            scaled=recipe.scaled,
            max_pixels=recipe.max_pixels,
            watch_seconds=recipe.watchdog_seconds,
            stacks=folder / "stacks",
        )
        metrics.data_workers.set(pairs.workers)
        return pairs

    parts = Parts(
        engine=engine,
        spec=spec,
        teacher=teacher,
        constants=constants,
        checkpoints=checkpoints,
        log=log,
        metrics=metrics,
        account=BatchAccount(recipe.data, folder, context),
        attempt=attempt,
        live=(
            LiveEvaluation(recipe, engine, tokenizer, context, log, metrics)
            if recipe.evaluate_every is not None
            else None
        ),
        flops=_utilisation(engine, context),
    )
    outcome = run_steps(recipe, parts, stream, progress, context)
    state = engine.full_state()
    if context.is_first:
        export_model(
            folder / "model",
            state,
            scalar_names=student.scalar_names,
            model_cfg=recipe.source.model_cfg,
            spec=student.image_spec,
        )
        log.event("export", outcome.steps, f"{folder / 'model'}")
    context.barrier()
    return outcome


def _tell_beginning(
    metrics: Metrics, progress: Progress, spec: ObjectiveSpec, *, attempt: int
) -> None:
    metrics.worker_restarts_total.inc(attempt - 1)
    if progress.step:
        metrics.checkpoint_last_step.set(progress.step)
    metrics.checkpoint_timestamp_seconds.set(time.time())
    for term, weight in spec.term_weights.items():
        metrics.objective_weight.set(weight, term)
    if progress.floor:
        metrics.similarity_floor.set(sum(progress.floor) / len(progress.floor))


def _utilisation(engine: Engine, context: RankContext) -> Utilisation | None:
    """None where the device's peak is not known; the same on all ranks of one kind of device."""
    peak = peak_flops(context.device)
    known = not context.agree(peak is None)
    if peak is None or not known:
        return None
    return Utilisation(model=measure_flops(engine.student), peak=peak)


def _what_is_ahead(recipe: Recipe, attempt: int, context: RankContext) -> str:
    data = recipe.data
    passes = (
        ""
        if data.forget is None
        else f", each forget pair seen {data.forget_passes(data.steps):.1f} times"
    )
    return f"attempt {attempt}, world size {context.world}, {data.steps} steps{passes}"


def _build_engine(recipe: Recipe, student: Student, context: RankContext) -> Engine:
    train = recipe.train
    student.to(context.device)
    trainable = [p for p in student.parameters() if p.requires_grad]
    optimizer = make_optimizer(
        trainable,
        kind=train.optimizer,
        lr=train.lr,
        betas=train.betas,
        weight_decay=train.weight_decay,
    )
    config = deepspeed_json(
        zero_stage=train.zero_stage, grad_clip=train.grad_clip, extra=recipe.deepspeed
    )
    return Engine(student, optimizer, config)


def _teacher_constants(student: Student) -> TeacherConstants:
    bias = getattr(student.clip, "logit_bias", None)
    return TeacherConstants(
        scale=exp_scale(student.clip), bias=None if bias is None else float(bias.detach())
    )


def _identity(recipe: Recipe, student: Student) -> dict[str, str]:
    """What must be the same for a run to be continued, whatever its paths are."""
    clip = student.clip
    found = {
        "original model": fingerprint(
            clip.state_dict(), recipe.source.model_cfg, student.image_spec
        ),
        "retain set": recipe.data.retain.index.fingerprint,
    }
    if recipe.data.forget is not None:
        found["forget set"] = recipe.data.forget.index.fingerprint
    return found


def _check_same_run(saved: Saved, recipe: Recipe, identity: dict[str, str]) -> None:
    changed = [
        name
        for name, one in saved.progress.identity.items()
        if not same_content(identity[name], one)
    ]
    if changed:
        raise UserError(
            "--resume",
            f"the {' and the '.join(changed)} are not those that the run began with.",
            "Give the same ones (their paths may differ), or start another run.",
        )
    if saved.progress.step > recipe.data.steps:
        raise UserError(
            "--resume",
            f"{saved.progress.step} steps are done, but only {recipe.data.steps} are planned now.",
            "Plan at least as many, or start another run.",
        )
    if saved.progress.order_version != ORDER_VERSION:
        raise UserError(
            "--resume",
            f"the checkpoint's data order is version {saved.progress.order_version}, this "
            f"program's is {ORDER_VERSION}: the batches would differ.",
            "Finish the run with the version that started it, or start anew.",
        )
