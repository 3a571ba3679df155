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

from dist_erase.losses.consistency import anchor, consistency
from dist_erase.losses.rows import Model

TEACHER = teacher_of(9)


def kl(theirs: list[Tensor], ours: list[Tensor]) -> Tensor:
    """KL of two distributions given by logits."""
    p = [x.exp() / sum(y.exp() for y in theirs) for x in theirs]
    q = [x.exp() / sum(y.exp() for y in ours) for x in ours]
    return sum(a * torch.log(a / b) for a, b in zip(p, q, strict=True))


def naive_softmax_kl(model: Model, teacher: Model = TEACHER) -> Tensor:
    n, total = len(model.retain.image_bD), 0
    logit = [
        [
            [m.scale * m.retain.image_bD[i].dot(m.retain.text_bD[j]) for j in range(n)]
            for i in range(n)
        ]
        for m in (teacher, model)
    ]
    for i in range(n):
        total = total + kl(logit[0][i], logit[1][i])
        total = total + kl([row[i] for row in logit[0]], [row[i] for row in logit[1]])
    return total / n


def naive_sigmoid_kl(model: Model) -> Tensor:
    n, total = len(model.retain.image_bD), 0
    for i in range(n):
        for j in range(n):
            p, q = (
                torch.sigmoid(m.scale * m.retain.image_bD[i].dot(m.retain.text_bD[j]) + m.bias)
                for m in (TEACHER, model)
            )
            total = total + p * torch.log(p / q) + (1 - p) * torch.log((1 - p) / (1 - q))
    return total / n


def naive_unimodal(of_pair, model: Model) -> Tensor:
    n, total = len(model.retain.image_bD), 0
    for i in range(n):
        total = total + of_pair(TEACHER.retain.image_bD[i], model.retain.image_bD[i])
        total = total + of_pair(TEACHER.retain.text_bD[i], model.retain.text_bD[i])
    return total / n


NAIVE = {
    ("kl_logits", "softmax"): naive_softmax_kl,
    ("kl_logits", "sigmoid"): naive_sigmoid_kl,
    ("kl_features", "softmax"): partial(naive_unimodal, lambda a, b: kl(list(a), list(b))),
    ("l2", "softmax"): partial(
        naive_unimodal, lambda a, b: sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
    ),
    ("cosine", "softmax"): partial(naive_unimodal, lambda a, b: 1 - a.dot(b)),
}


@pytest.mark.parametrize(("variant", "family"), NAIVE)
def test_value_and_gradient_equal_a_loop_over_pairs(variant, family):
    assert_same_value_and_gradient(
        make_features(1),
        lambda model: consistency(model, TEACHER, loss=variant, family=family),
        NAIVE[variant, family],
    )


@pytest.mark.parametrize(("variant", "family"), NAIVE)
def test_gradcheck(variant, family):
    assert_gradcheck(
        make_features(2), lambda model: consistency(model, TEACHER, loss=variant, family=family)
    )


@pytest.mark.parametrize("family", ["softmax", "sigmoid"])
@pytest.mark.parametrize("variant", ["kl_logits", "kl_features", "l2", "cosine"])
def test_a_student_that_equals_the_teacher_is_consistent(variant, family):
    value = consistency(TEACHER, TEACHER, loss=variant, family=family)
    assert abs(value.item()) < 1e-14


@pytest.mark.parametrize("family", ["softmax", "sigmoid"])
def test_one_pair_has_no_other_to_compare_with(family):
    features, teacher = make_features(3, retain=(1,)), teacher_of(4, retain=(1,))
    value = consistency(features.model(), teacher, loss="kl_logits", family=family)

    if family == "softmax":
        assert value.item() == pytest.approx(0, abs=1e-15)
    else:
        assert value.item() > 0


def test_sigmoid_kl_is_finite_where_a_probability_rounds_to_one():
    teacher, features = (
        teacher_of(5, scale=3000.0),
        make_features(6, scale=0.1, dtype=torch.float32),
    )
    value = consistency(features.model(), teacher, loss="kl_logits", family="sigmoid")
    assert value.isfinite()


def test_anchor_is_the_l2_variant():
    model = make_features(7).model()
    assert anchor(model, TEACHER) == consistency(model, TEACHER, loss="l2", family="softmax")
