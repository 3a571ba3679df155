"""One training step, in the paper's order and words (CLIPErase, arXiv 2410.23330, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dist_erase.batch import PairBatch, TeacherAnswer
from dist_erase.distributed.clock import COLLECTIVES, Mark, Span, mark, seconds_between, seconds_of
from dist_erase.distributed.context import RankContext
from dist_erase.distributed.gather import gather, gather_with_grad
from dist_erase.errors import UserError
from dist_erase.losses.objective import ObjectiveSpec, objective
from dist_erase.losses.rows import Model, Rows
from dist_erase.training.engine import Engine
from dist_erase.training.gradients import (
    TermGradients,
    embedding_gradients,
    parameter_gradients,
)
from dist_erase.training.measures import Measures, measure_batch


class NotFiniteError(UserError):
    """The objective or its gradient is NaN or infinite."""


@dataclass(frozen=True, kw_only=True)
class TeacherConstants:
    """exp(logit_scale) and logit bias of the frozen original."""

    scale: float
    bias: float | None


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What one step did; the same on every rank but for `seconds`, by phase.

    `gradients` is there if it was asked for.
    """

    measures: Measures
    grad_norm: float
    logit_scale: float
    seconds: dict[str, float]
    gradients: TermGradients | None

    @property
    def losses(self) -> dict[str, float]:
        """Each term unweighted, and `total`."""
        return self.measures.losses


def training_step(
    engine: Engine,
    spec: ObjectiveSpec,
    batch: PairBatch,
    *,
    teacher: TeacherAnswer | None,
    constants: TeacherConstants,
    floor: Tensor | None,
    lr: float,
    micro_batch: int | None,
    context: RankContext,
    measure_gradients: bool = False,
) -> StepResult:
    """Embeds forget ⊕ retain once, forms the objective over the global batch, updates.

    The contrastive batch stays whole under accumulation (gradient caching, Gao et al.,
    arXiv 2101.06983): embeddings of all micro-batches without gradient, one loss on all of
    them, then each micro-batch again with its cached embedding gradient.

    Args:
        engine: holds the student.
        spec: the objective.
        batch: this rank's pairs.
        teacher: its embeddings of them; None where the objective needs none.
        constants: the teacher's logit scale and bias.
        floor: float [] or [f] for this rank's forget pairs; None where none is used.
        lr: of this step.
        micro_batch: pairs per forward on this rank; None = all at once.
        context: this rank.
        measure_gradients: also measure each term's gradient, at the cost of a step for each.

    Raises:
        NotFiniteError: the objective or its gradient is NaN or infinite; on every rank, before
            anything is checkpointed.
    """
    clock = _Clock(engine.device)
    sets = [batch.retain] if batch.forget is None else [batch.forget, batch.retain]
    images = torch.cat([samples.images for samples in sets])
    tokens = torch.cat([samples.tokens for samples in sets])
    size = micro_batch or len(images)
    chunks = list(zip(torch.split(images, size), torch.split(tokens, size), strict=True))

    with torch.set_grad_enabled(len(chunks) == 1):
        outputs = [engine.forward(*chunk) for chunk in chunks]
    image, text = (_leaf(torch.cat([out[i] for out in outputs])) for i in (0, 1))
    scale, bias = (_leaf(outputs[0][i]) for i in (2, 3))
    clock.lap("forward")

    student = _student_rows(image, text, scale, bias, batch, engine)
    terms = objective(
        student=student,
        teacher=_teacher_rows(teacher, constants, student),
        floor_b=floor,
        spec=spec,
    )
    leaves = [image, text, scale, bias]
    by_term = embedding_gradients(terms, spec.term_weights, leaves) if measure_gradients else None
    gradients = torch.autograd.grad(terms.total, leaves, allow_unused=True, materialize_grads=True)
    measures = measure_batch(terms, student, floor_b=floor, context=context)
    if not all(map(_is_finite, measures.losses.values())):
        raise _not_finite(batch, f"{measures.losses}; nothing was updated")

    with engine.one_reduction():
        for index, chunk in enumerate(chunks):
            out = outputs[0] if len(chunks) == 1 else engine.forward(*chunk)
            rows = slice(index * size, (index + 1) * size)
            surrogate = (out[0] * gradients[0][rows]).sum() + (out[1] * gradients[1][rows]).sum()
            if index == 0:  # scale and bias belong to the batch, not to each micro-batch
                surrogate = surrogate + out[2] * gradients[2] + out[3] * gradients[3]
            engine.backward(surrogate, last=index == len(chunks) - 1)
    clock.lap("backward")
    term_gradients = None
    if by_term is not None:
        term_gradients = parameter_gradients(engine.student, chunks, by_term, context)
        clock.lap("gradients")
    engine.step(lr)
    grad_norm = engine.grad_norm()
    if not _is_finite(grad_norm):
        raise _not_finite(batch, f"gradient norm {grad_norm}; the last checkpoint is unharmed")
    clock.lap("optimizer")
    return StepResult(
        measures=measures,
        grad_norm=grad_norm,
        logit_scale=float(scale.detach()),
        seconds=clock.seconds(),
        gradients=term_gradients,
    )


def _not_finite(batch: PairBatch, what: str) -> NotFiniteError:
    return NotFiniteError(
        "train.lr",
        f"step {batch.step + 1} is not finite ({what}).",
        "Lower train.lr or set train.grad_clip, and start another run.",
    )


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()


def _is_finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")


def _student_rows(
    image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, batch: PairBatch, engine: Engine
) -> Model:
    device = image.device
    forgotten = 0 if batch.forget is None else len(batch.forget)
    forget = None
    if batch.forget is not None:
        captions = gather(batch.forget.caption_ids.to(device))
        forget = _rows(image[:forgotten], text[:forgotten], captions, grad=True)
    captions = gather(batch.retain.caption_ids.to(device))
    retain = _rows(image[forgotten:], text[forgotten:], captions, grad=True)
    sigmoid = engine.student.family == "sigmoid"
    return Model(forget=forget, retain=retain, scale=scale, bias=bias if sigmoid else None)


def _teacher_rows(
    answer: TeacherAnswer | None, constants: TeacherConstants, student: Model
) -> Model | None:
    if answer is None:
        return None
    sets: dict[str, Rows | None] = {"forget": None, "retain": None}
    for name, own in (("forget", student.forget), ("retain", student.retain)):
        embeddings = getattr(answer, name)
        if embeddings is not None and own is not None:
            image, text = (x.to(own.image_bD.device) for x in (embeddings.image, embeddings.text))
            sets[name] = _rows(image, text, own.captions_B, grad=False)
    device = student.scale.device
    bias = None if constants.bias is None else torch.tensor(constants.bias, device=device)
    return Model(**sets, scale=torch.tensor(constants.scale, device=device), bias=bias)


def _rows(image_bD: Tensor, text_bD: Tensor, captions_B: Tensor, *, grad: bool) -> Rows:
    collect = gather_with_grad if grad else gather
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    return Rows(
        image_bD=image_bD,
        text_bD=text_bD,
        image_BD=collect(image_bD),
        text_BD=collect(text_bD),
        captions_B=captions_B,
        offset=rank * len(image_bD),
    )


class _Clock:
    """Seconds of each phase on the device, and of collectives, which are taken out of them."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._laps: list[tuple[str, Mark, list[Span]]] = []
        COLLECTIVES.pop()
        self._start = mark(device)

    def lap(self, phase: str) -> None:
        """Ends a phase, without waiting for the device."""
        self._laps.append((phase, mark(self._device), COLLECTIVES.pop()))

    def seconds(self) -> dict[str, float]:
        """By phase; waits for the device."""
        found = {"communication": 0.0}
        start = self._start
        for phase, end, spans in self._laps:
            waiting = seconds_of(spans)
            found[phase] = max(0.0, seconds_between(start, end) - waiting)
            found["communication"] += waiting
            start = end
        return found
