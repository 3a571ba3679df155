"""What the engine promises beside exactness: precision, clamps, frozen towers, bad losses."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from deepspeed.utils import safe_get_full_fp32_param
from support.processes import run_ranks
from torch import Tensor
from training_cases import (
    CONSTANTS,
    Case,
    default_objective,
    make_engine,
    make_student,
    one_step,
    start_rank,
    whole_set,
)

from dist_erase.batch import Embeddings, TeacherAnswer
from dist_erase.errors import UserError
from dist_erase.training.step import TeacherConstants

pytestmark = pytest.mark.integration

STAGES = (0, 1, 2, 3)
SMALL = 1e-6  # the paper's learning rate


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Of one rank, by stage."""

    small_steps: dict[int, tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]]
    embeddings: dict[str, Tensor]
    scales: dict[int, list[tuple[float, float]]]
    refused: dict[int, tuple[bool, str]]
    image_tower_alone: dict[int, set[str]]


def all_on_a_rank(rank: int) -> Answers:
    start_rank()
    return Answers(
        small_steps={stage: small_step_in_bf16(stage) for stage in STAGES},
        embeddings={precision: embed_with(precision) for precision in ("bf16", "fp32")},
        scales={stage: scale_pushed_up_then_down(stage) for stage in STAGES},
        refused={stage: loss_that_is_nan_on_rank_1(stage) for stage in STAGES},
        image_tower_alone={stage: changed_by_the_image_tower(stage) for stage in (0, 2, 3)},
    )


@cache
def answers() -> list[Answers]:
    return run_ranks(all_on_a_rank, 2, timeout_seconds=300)


def small_step_in_bf16(stage: int):
    """Weights before and after one AdamW step of lr 1e-6, and all tensors of a checkpoint."""
    case = Case(stage=stage, micro_batch=5)
    engine = make_engine(make_student(case, precision="bf16"), case, "adamw")
    before = engine.full_state()
    one_step(engine, case, 0, SMALL)
    return before, engine.full_state(), engine.checkpoint_tensors(part=0, parts=1)


def embed_with(precision: str) -> Tensor:
    case = Case(stage=2)
    engine = make_engine(make_student(case, precision=precision), case)
    samples = whole_set("retain", 0).samples
    with torch.no_grad():
        return engine.forward(samples.images, samples.tokens)[0]


def scale_pushed_up_then_down(stage: int) -> list[tuple[float, float]]:
    """logit_scale of the model and of the optimizer after each of four steps, lr 1.

    Consistency alone, with a teacher that has the student's own embeddings and a sharper
    softmax, then a softer one.
    """
    case = Case(stage=stage, logit_scale="trained")
    student = make_student(case)
    student.clip.logit_scale.data.fill_(math.log(99))
    student.clip.requires_grad_(False)
    student.clip.logit_scale.requires_grad_()
    engine = make_engine(student, case)
    spec = replace(
        default_objective(student), forget_weight=0.0, retain_weight=0.0, anchor_weight=0.0
    )
    seen = []
    for scale in (10000.0, 10000.0, 10000.0, 1.0):
        result = one_step(
            engine, case, 0, 1.0, spec=spec, constants=TeacherConstants(scale=scale, bias=None)
        )
        whole = engine.full_state()["logit_scale"]
        master = engine._trainable["logit_scale"]
        if stage > 0:
            master = safe_get_full_fp32_param(master)
        seen.append((float(whole), float(master), result.grad_norm))
    return seen


def loss_that_is_nan_on_rank_1(stage: int) -> tuple[bool, str]:
    """Whether the weights are what they were, and what was raised."""
    case = Case(stage=stage)
    engine = make_engine(make_student(case), case, "adamw")
    before = engine.full_state()
    rank = torch.distributed.get_rank()
    answer = whole_set("retain", 0).part(rank, 2).teacher
    if rank == 1:
        answer = Embeddings(image=answer.image * math.nan, text=answer.text)
    said = ""
    try:
        one_step(engine, case, 0, 0.1, teacher=TeacherAnswer(retain=answer, forget=None))
    except UserError as error:
        said = str(error)
    after = engine.full_state()
    return all(torch.equal(before[name], after[name]) for name in before), said


def changed_by_the_image_tower(stage: int) -> set[str]:
    case = Case(stage=stage)
    engine = make_engine(make_student(case, towers="image"), case)
    before = engine.full_state()
    one_step(engine, case, 0, 0.01)
    after = engine.full_state()
    return {name for name in before if not torch.equal(before[name], after[name])}
