"""Gradients term by term, on real ranks: their sum is what the optimizer gets."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
import torch
from support.processes import run_ranks
from training_cases import (
    SIGMOID,
    Case,
    digest,
    make_engine,
    make_student,
    one_step,
    start_rank,
)

from dist_erase.training.gradients import TermGradients

pytestmark = pytest.mark.integration

PLAIN = Case()
RUNS = [
    (1, PLAIN),
    (1, Case(stage=3, micro_batch=5)),
    *((2, Case(stage=stage, micro_batch=5)) for stage in (0, 1, 2, 3)),
    (2, Case(stage=2, grad_clip=0.1)),
    (2, Case(SIGMOID, 2, 5, "trained")),
]


def measure_on_a_rank(rank: int, cases: list[Case]) -> list[dict[str, Any]]:
    start_rank()
    return [measure(case) for case in cases]


def measure(case: Case) -> dict[str, Any]:
    engine = make_engine(make_student(case), case)
    first = one_step(engine, case, 0, 1e-3, measure_gradients=True)
    second = one_step(engine, case, 1, 1e-3)
    watched = engine.full_state()
    plain = make_engine(make_student(case), case)
    for step in range(2):
        one_step(plain, case, step, 1e-3)
    assert first.gradients is not None
    assert second.gradients is None
    return {
        "gradients": first.gradients,
        "norm": first.grad_norm,
        "seconds": [first.seconds, second.seconds],
        "unchanged": digest(watched) == digest(plain.full_state()),
    }


@cache
def answers(world: int) -> dict[Case, list[dict[str, Any]]]:
    cases = [case for size, case in RUNS if size == world]
    by_rank = run_ranks(measure_on_a_rank, world, cases, timeout_seconds=300)
    return dict(zip(cases, zip(*by_rank, strict=True), strict=True))


@pytest.mark.parametrize(("world", "case"), RUNS, ids=str)
def test_terms_add_up_to_the_gradient_of_the_step_and_leave_it_alone(world, case):
    for answer in answers(world)[case]:
        gradients: TermGradients = answer["gradients"]
        assert set(gradients.terms) == {"retention", "forgetting", "consistency", "anchor"}
        # float32 sums in another order; before clipping
        assert math.sqrt(gradients.products.sum()) == pytest.approx(answer["norm"], rel=1e-4)
        assert answer["unchanged"]
        watched, plain = answer["seconds"]
        assert watched.keys() - plain.keys() == {"gradients"}
        assert plain["communication"] > 0 or world == 1


@pytest.mark.parametrize(("world", "case"), RUNS[1:-1], ids=str)
def test_ranks_find_what_one_plain_process_finds(world, case):
    want = answers(1)[PLAIN][0]["gradients"].products
    for answer in answers(world)[case]:
        torch.testing.assert_close(answer["gradients"].products, want, rtol=1e-3, atol=1e-9)


def test_norms_and_conflict_follow_from_the_inner_products():
    # Gradients (3, 0), (0, 4), (-3, 4): forgetting against (3, 4).
    vectors = torch.tensor([[3.0, 0.0], [0.0, 4.0], [-3.0, 4.0]], dtype=torch.float64)
    found = TermGradients(terms=("retention", "anchor", "forgetting"), products=vectors @ vectors.T)
    assert found.norms() == {"retention": 3.0, "anchor": 4.0, "forgetting": 5.0}
    assert found.conflict() == pytest.approx((-9 + 16) / 25)


def test_no_conflict_is_told_where_there_is_nothing_to_compare():
    one = torch.ones(1, 1, dtype=torch.float64)
    assert TermGradients(terms=("forgetting",), products=one).conflict() is None
    none = torch.zeros(2, 2, dtype=torch.float64)
    assert TermGradients(terms=("forgetting", "retention"), products=none).conflict() is None
