"""Weights after three steps on real ranks equal those of one plain process on the whole batch."""

from __future__ import annotations

import itertools
import sys
from functools import cache

import pytest
import torch
from plain_training import Trained, plain_model, reference_of
from support.processes import run_ranks
from training_cases import (
    BATCH_NORM,
    RATES,
    SIGMOID,
    TINY,
    Case,
    digest,
    make_engine,
    make_student,
    one_step,
    start_rank,
)

pytestmark = pytest.mark.integration

STAGES = (0, 1, 2, 3)
# Pairs on a rank: 24, 12, 6 for 1, 2, 4 ranks. 5 leaves an uneven tail, 3 divides them.
MATRIX = [Case(stage=s, micro_batch=m) for s, m in itertools.product(STAGES, (None, 5))]
SPECIAL = [
    *(Case(stage=s, micro_batch=3) for s in STAGES),
    *(Case(BATCH_NORM, s, m) for s, m in itertools.product((0, 2, 3), (None, 5))),
    *(Case(SIGMOID, s, 5) for s in STAGES),
    *(Case(SIGMOID, s, m, "trained") for s, m in itertools.product(STAGES, (None, 5))),
    *(Case(TINY, s, m, "trained") for s, m in ((0, 5), (2, None), (3, 5))),
    *(Case(stage=s, micro_batch=m, grad_clip=0.1) for s, m in ((0, 5), (1, 5), (2, None), (3, 5))),
    *(Case(stage=s, micro_batch=5, per_pair_floor=True) for s in (0, 2)),
    *(Case(stage=2, micro_batch=m, overlap_comm=o) for m in (None, 5) for o in (True, False)),
]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
RUNS = [(world, case) for world in (1, 2, 4) for case in MATRIX] + [(2, case) for case in SPECIAL]


def train_on_a_rank(rank: int, cases: list[Case]) -> list[tuple[Trained, str]]:
    start_rank()
    trained = [train(case) for case in cases]
    # It takes a second to import, and DeepSpeed does so for an optimizer that is not ours.
    assert "torch._inductor.compile_fx" not in sys.modules
    return trained


def train(case: Case) -> tuple[Trained, str]:
    """The tensors themselves from rank 0 alone: they travel through a pipe."""
    engine = make_engine(make_student(case), case)
    results = [one_step(engine, case, step, lr) for step, lr in enumerate(RATES)]
    weights = engine.full_state()
    trained = Trained(
        weights=weights if torch.distributed.get_rank() == 0 else {},
        norms=[result.grad_norm for result in results],
        losses=[result.losses for result in results],
    )
    return trained, digest(weights)


@cache
def answers(world: int) -> dict[Case, list[tuple[Trained, str]]]:
    """By case, what each rank got; one process group serves all cases of a world size."""
    cases = [case for size, case in RUNS if size == world]
    by_rank = run_ranks(train_on_a_rank, world, cases, timeout_seconds=300)
    return dict(zip(cases, zip(*by_rank, strict=True), strict=True))


@pytest.mark.parametrize(("world", "case"), RUNS, ids=lambda x: str(x))
def test_ranks_train_as_one_plain_process_does(world, case):
    by_rank = answers(world)[case]
    expected, trained = reference_of(case), by_rank[0][0]

    assert len({digest for _, digest in by_rank}) == 1  # all ranks have the same weights
    # 1e-6: float32 sums in another order; weights moved by 1e-5 to 1e-1.
    for name, want in expected.weights.items():
        got = trained.weights[name].reshape(want.shape)
        torch.testing.assert_close(got, want, rtol=0, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    for step, (got, want) in enumerate(zip(trained.losses, expected.losses, strict=True)):
        assert got == pytest.approx(want, rel=1e-5), f"step {step}"
    assert trained.norms == pytest.approx(expected.norms, rel=1e-5)  # before clipping


@pytest.mark.parametrize("path", [TINY, BATCH_NORM, SIGMOID])
def test_the_reference_moves_every_weight_and_would_show_a_forgotten_clip(path):
    before, after = plain_model(path).state_dict(), reference_of(Case(path))
    # A key bias has no effect: a softmax does not see what all its logits have in common.
    still = ("logit_scale", "logit_bias", "k_proj.bias", *STATISTICS)
    for name, old in before.items():
        if not name.endswith(still):
            assert (after.weights[name] - old).abs().max() > 5e-6, name
    assert min(after.norms) > 1.0  # DeepSpeed clips at 1.0 unless it is told not to


@pytest.mark.parametrize("case", [c for c in SPECIAL if c.logit_scale == "frozen"], ids=str)
def test_scale_bias_and_statistics_stay_as_they_were_bit_for_bit(case):
    before, after = plain_model(case.model).state_dict(), answers(2)[case][0][0].weights
    kept = [n for n in before if n in ("logit_scale", "logit_bias") or n.endswith(STATISTICS)]
    for name in kept:
        assert torch.equal(after[name].reshape(before[name].shape), before[name]), name
    assert len(kept) > 10 or case.model != BATCH_NORM
