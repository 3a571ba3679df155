from dataclasses import replace
from functools import partial

import pytest
import torch
from support.pairs import (
    assert_gradcheck,
    assert_same_value_and_gradient,
    make_features,
    teacher_of,
)
from torch import Tensor

from dist_erase.losses.forgetting import forgetting
from dist_erase.losses.rows import Model, Rows
from dist_erase.losses.similarity import matched

TEACHER = teacher_of(9)
FLOORS = {
    "none": None,
    "number": torch.tensor(0.1, dtype=torch.float64),
    "per_pair": torch.tensor([0.2, -0.3, 0.05], dtype=torch.float64),
}


def loss_of(model: Model, teacher: Model | None = TEACHER, **options: object) -> Tensor:
    defaults = {"family": "softmax", "floor_b": None, "side": "both", "towers": "joint"}
    return forgetting(model, teacher, **(defaults | options))


def loop(of_pair, model: Model, teacher: Model = TEACHER) -> Tensor:
    """Mean over forget pairs of `of_pair(i, model, teacher)`."""
    n = len(model.forget.image_bD)
    return sum(of_pair(i, model, teacher) for i in range(n)) / n


def similarity(model: Model, i: int) -> Tensor:
    return model.forget.image_bD[i].dot(model.forget.text_bD[i])


def naive_cosine(floor: Tensor | None, side: str, i: int, model: Model, teacher: Model) -> Tensor:
    if floor is None:
        return similarity(model, i)
    phi = floor[i] if floor.ndim else floor
    difference = similarity(model, i) - phi
    if difference > 0:
        return difference
    return -difference if side == "both" else 0 * difference


def own_and_others(model: Model, i: int, sets: list) -> list[list[Tensor]]:
    """Logits of image i to its own text and all texts of other captions; the same for text i."""
    forget, both = model.forget, []
    for query, partner, which in (
        (forget.image_bD[i], forget.text_bD[i], "text_BD"),
        (forget.text_bD[i], forget.image_bD[i], "image_BD"),
    ):
        logits = [model.scale * query.dot(partner)]
        for rows in sets:
            for j, caption in enumerate(rows.captions_B):
                if caption != forget.captions_B[i]:
                    logits.append(model.scale * query.dot(getattr(rows, which)[j]))
        both.append(logits)
    return both


def naive_joint_ce(i: int, model: Model, teacher: Model) -> Tensor:
    both = own_and_others(model, i, [model.forget, model.retain])
    return sum(torch.log(x[0].exp() / sum(y.exp() for y in x)) for x in both) / 2


def naive_sigmoid_joint_ce(i: int, model: Model, teacher: Model) -> Tensor:
    return -torch.log(1 + torch.exp(-(model.scale * similarity(model, i) + model.bias)))


def naive_mse_zero(i: int, model: Model, teacher: Model) -> Tensor:
    texts = model.forget.text_BD
    return sum(model.forget.image_bD[i].dot(t) ** 2 for t in texts) / len(texts)


def naive_uniform(i: int, model: Model, teacher: Model) -> Tensor:
    total = 0
    for logits in own_and_others(model, i, [model.retain]):
        share = 1 / len(logits)
        for x in logits:
            total = total + share * torch.log(share / (x.exp() / sum(y.exp() for y in logits)))
    return total / 2


def naive_npo(i: int, model: Model, teacher: Model) -> Tensor:
    excess = similarity(model, i) - similarity(teacher, i)
    return 2 / 5 * torch.log(1 + torch.exp(5 * excess))


def naive_redirect(i: int, model: Model, teacher: Model) -> Tensor:
    forget, retain = teacher.forget, teacher.retain
    allowed = [j for j, c in enumerate(retain.captions_B) if c != forget.captions_B[i]]
    caption = max(allowed, key=lambda j: forget.text_bD[i].dot(retain.text_BD[j]).item())
    image = max(allowed, key=lambda j: forget.image_bD[i].dot(retain.image_BD[j]).item())
    moved = model.forget
    towards_caption = 1 - moved.image_bD[i].dot(retain.text_BD[caption])
    return (towards_caption + 1 - moved.text_bD[i].dot(retain.image_BD[image])) / 2


CASES = {
    f"cosine-{name}-{side}": (
        {"loss": "cosine", "floor_b": floor, "side": side},
        partial(naive_cosine, floor, side),
    )
    for name, floor in FLOORS.items()
    for side in ("both", "above")
} | {
    "joint_ce": ({"loss": "joint_ce"}, naive_joint_ce),
    "joint_ce-sigmoid": ({"loss": "joint_ce", "family": "sigmoid"}, naive_sigmoid_joint_ce),
    "mse_zero": ({"loss": "mse_zero"}, naive_mse_zero),
    "uniform": ({"loss": "uniform"}, naive_uniform),
    "npo": ({"loss": "npo"}, naive_npo),
    "redirect": ({"loss": "redirect"}, naive_redirect),
}


def crossed(model: Model, image_of: Model, text_of: Model) -> Model:
    def join(name: str):
        image, text = getattr(image_of, name), getattr(text_of, name)
        return replace(image, text_bD=text.text_bD, text_BD=text.text_BD)

    return replace(model, forget=join("forget"), retain=join("retain"))


@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_equal_a_loop_over_pairs(case):
    options, of_pair = CASES[case]
    assert_same_value_and_gradient(
        make_features(1), partial(loss_of, **options), partial(loop, of_pair)
    )


@pytest.mark.parametrize("case", [case for case in CASES if case != "redirect"])
def test_each_tower_adds_the_loss_against_the_teachers_other_tower(case):
    options, of_pair = CASES[case]

    def naive(model: Model) -> Tensor:
        pairings = [model, crossed(model, model, TEACHER), crossed(model, TEACHER, model)]
        return sum(loop(of_pair, pairs) for pairs in pairings)

    assert_same_value_and_gradient(
        make_features(1), partial(loss_of, **options, towers="each"), naive
    )


@pytest.mark.parametrize("case", CASES)
def test_gradcheck(case):
    options, _ = CASES[case]
    assert_gradcheck(make_features(2), partial(loss_of, **options))


@pytest.mark.parametrize("case", [case for case in CASES if "per_pair" not in case])
def test_one_forget_pair(case):
    options, of_pair = CASES[case]
    teacher = teacher_of(9, forget=(7,))
    assert_same_value_and_gradient(
        make_features(3, forget=(7,)),
        partial(loss_of, teacher=teacher, **options),
        partial(loop, of_pair, teacher=teacher),
    )


@pytest.mark.parametrize("loss", ["joint_ce", "uniform", "redirect"])
def test_where_every_candidate_has_the_pairs_own_caption_nothing_is_asked(loss):
    features = make_features(4, forget=(7, 7), retain=(7, 7, 7))
    teacher = teacher_of(5, forget=(7, 7), retain=(7, 7, 7))
    value = loss_of(features.model(), teacher, loss=loss)
    gradients = torch.autograd.grad(value, features.leaves, allow_unused=True)

    assert value.item() == pytest.approx(0, abs=1e-15)
    for gradient in gradients:
        assert gradient is None or gradient.abs().max() < 1e-15


def test_redirect_never_leads_back_to_the_forgotten_caption():
    features, old = make_features(6, forget=(7,), retain=(7, 1)), teacher_of(5, forget=(7,))
    away = torch.stack([old.forget.image_bD[0], -old.forget.image_bD[0]])
    retain = Rows(
        image_bD=away,
        text_bD=away.flip(1),
        image_BD=away,
        text_BD=away.flip(1),
        captions_B=features.retain_captions,
        offset=0,
    )
    forget = replace(old.forget, text_bD=away[:1].flip(1), text_BD=away[:1].flip(1))
    model = features.model()
    value = loss_of(model, replace(old, forget=forget, retain=retain), loss="redirect")

    to_caption = 1 - model.forget.image_bD[0].dot(retain.text_BD[1])
    to_image = 1 - model.forget.text_bD[0].dot(retain.image_BD[1])
    torch.testing.assert_close(value, (to_caption + to_image) / 2, rtol=0, atol=1e-12)


def test_a_pair_at_or_below_its_floor_has_no_gradient_from_above():
    features = make_features(6)
    rows = features.model().forget
    floor_b = matched(rows.image_bD, rows.text_bD).detach() + torch.tensor([0.0, 0.5, -0.5])
    value = loss_of(features.model(), loss="cosine", side="above", floor_b=floor_b)
    (gradient,) = torch.autograd.grad(value, features.forget_image)

    assert value.item() == pytest.approx(0.5 / 3)
    assert gradient[:2].abs().max() == 0
    assert gradient[2].abs().max() > 0


def test_two_sided_pulls_up_from_below_the_floor():
    features = make_features(7)
    before = similarity(features.model(), 0)
    value = loss_of(features.model(), loss="cosine", side="both", floor_b=before.detach() + 0.2)
    (gradient,) = torch.autograd.grad(value, features.forget_image)
    with torch.no_grad():
        features.forget_image.sub_(0.01 * gradient)

    assert similarity(features.model(), 0) > before


@pytest.mark.parametrize("options", [{"loss": "npo"}, {"loss": "cosine", "towers": "each"}])
def test_a_missing_teacher_is_named(options):
    with pytest.raises(ValueError, match="needs the teacher"):
        loss_of(make_features(8).model(), None, **options)
