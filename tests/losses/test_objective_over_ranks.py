"""The objective over real gloo ranks equals that of one process on the whole batch."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.distributed as dist
from support.pairs import Features, make_features, teacher_of
from support.processes import run_ranks
from torch import Tensor
from torch.nn import functional as F

from dist_erase.distributed.gather import gather, gather_with_grad
from dist_erase.losses.objective import ObjectiveSpec, objective
from dist_erase.losses.rows import Model, Rows

# Equal captions within and across the slices of ranks; 8 is in both sets.
CAPTIONS = {"forget": (7, 7, 8, 9, 7, 8, 7, 6), "retain": (1, 2, 1, 8, 3, 3, 1, 4, 5, 2, 2, 6)}
FLOOR_B = torch.linspace(-0.5, 0.5, len(CAPTIONS["forget"]), dtype=torch.float64)
FLOORS = {"none": None, "number": torch.tensor(0.1, dtype=torch.float64), "per_pair": FLOOR_B}
CONSISTENCY = ["kl_logits", "kl_features", "l2", "cosine"]


def cases() -> dict[str, tuple[ObjectiveSpec, Tensor | None]]:
    """Every forget loss, tower choice, floor and consistency variant in both families."""
    forget = [
        ("cosine", side, towers, floor)
        for side, towers, floor in itertools.product(["both", "above"], ["joint", "each"], FLOORS)
    ]
    forget += [
        (loss, "both", towers, "none")
        for loss in ("joint_ce", "mse_zero", "uniform", "npo", "redirect")
        for towers in ("joint", "each")
        if (loss, towers) != ("redirect", "each")
    ]
    variants = itertools.product(["softmax", "sigmoid"], forget)
    made = {}
    for number, (family, (loss, side, towers, floor)) in enumerate(variants):
        if (family, loss) == ("sigmoid", "uniform"):
            continue
        spec = ObjectiveSpec(
            family=family,
            forget_weight=3.0,
            forget_loss=loss,
            side=side,
            towers=towers,
            retain_weight=1.0,
            soft_targets=number % 2 == 0,
            consistency_weight=2.0,
            consistency_loss=CONSISTENCY[number % len(CONSISTENCY)],
            anchor_weight=0.5,
        )
        made[f"{number} {family} {loss} {side} {towers} {floor}"] = (spec, FLOORS[floor])
    return made


def features() -> tuple[Features, Model]:
    return make_features(1, **CAPTIONS), teacher_of(2, **CAPTIONS)


def own(x: Tensor, rank: int, world: int) -> Tensor:
    """This rank's slice of the rows."""
    size = len(x) // world
    return x[rank * size : (rank + 1) * size]


def rows_on_a_rank(image_b: Tensor, text_b: Tensor, captions_b: Tensor, rank: int) -> Rows:
    """As the training step makes them."""
    image_b, text_b = F.normalize(image_b, dim=-1), F.normalize(text_b, dim=-1)
    collect = gather_with_grad if image_b.requires_grad else gather
    return Rows(
        image_bD=image_b,
        text_bD=text_b,
        image_BD=collect(image_b),
        text_BD=collect(text_b),
        captions_B=gather(captions_b),
        offset=rank * len(image_b),
    )


def objective_on_a_rank(rank: int) -> dict[str, tuple[float, dict[str, float], list[Tensor]]]:
    """Total, terms and gradients of this rank's loss for each case."""
    world = dist.get_world_size()
    whole, teacher_whole = features()
    captions = [own(c, rank, world) for c in (whole.forget_captions, whole.retain_captions)]

    def model(four: list[Tensor], scale: Tensor, bias: Tensor) -> Model:
        forget = rows_on_a_rank(four[0], four[1], captions[0], rank)
        retain = rows_on_a_rank(four[2], four[3], captions[1], rank)
        return Model(forget=forget, retain=retain, scale=scale, bias=bias)

    old = teacher_whole
    unit = [old.forget.image_bD, old.forget.text_bD, old.retain.image_bD, old.retain.text_bD]
    teacher = model([own(x, rank, world) for x in unit], old.scale, old.bias)
    answers = {}
    for name, (spec, floor) in cases().items():
        four = [own(x.detach(), rank, world).clone().requires_grad_() for x in whole.leaves[:4]]
        scale, bias = (x.detach().clone().requires_grad_() for x in whole.leaves[4:])
        floor_b = floor if floor is None or not floor.ndim else own(floor, rank, world)
        terms = objective(
            student=model(four, scale, bias), teacher=teacher, floor_b=floor_b, spec=spec
        )
        terms.total.backward()
        gradients = [
            torch.zeros_like(x) if x.grad is None else x.grad for x in (*four, scale, bias)
        ]
        named = {term: value.item() for term, value in terms.named.items()}
        answers[name] = (terms.total.item(), named, gradients)
    return answers


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_value_and_gradient_equal_those_of_one_process(ranks):
    answers = run_ranks(objective_on_a_rank, ranks)
    whole, teacher = features()

    for name, (spec, floor) in cases().items():
        spec.check()
        student = whole.model()
        terms = objective(student=student, teacher=teacher, floor_b=floor, spec=spec)
        expected = torch.autograd.grad(terms.total, whole.leaves, allow_unused=True)
        totals, named, gradients = zip(*(answer[name] for answer in answers), strict=True)

        # 1e-12 throughout: float64, sums in another order.
        assert sum(totals) / ranks == pytest.approx(terms.total.item(), abs=1e-12), name
        for term, value in terms.named.items():
            mean = sum(one[term] for one in named) / ranks
            assert mean == pytest.approx(value.item(), abs=1e-12), f"{name}: {term}"
        for leaf, want, got in zip(
            whole.leaves, expected, zip(*gradients, strict=True), strict=True
        ):
            # Averaging parameter gradients over ranks divides each rank's share by their number.
            mean = torch.cat(got) / ranks if leaf.ndim else sum(got) / ranks
            want = torch.zeros_like(leaf) if want is None else want
            torch.testing.assert_close(
                mean, want, rtol=0, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}"
            )
