from dataclasses import replace
from functools import partial
from math import log

import pytest
import torch
from support.pairs import assert_gradcheck, assert_same_value_and_gradient, make_features
from torch import Tensor

from dist_erase.losses.contrastive import positives, sigmoid_contrastive, softmax_contrastive
from dist_erase.losses.rows import Model


def softmax(model: Model, *, soft_targets: bool) -> Tensor:
    return softmax_contrastive(model.retain, scale=model.scale, soft_targets=soft_targets)


def sigmoid(model: Model, *, soft_targets: bool) -> Tensor:
    return sigmoid_contrastive(
        model.retain, scale=model.scale, bias=model.bias, soft_targets=soft_targets
    )


def is_positive(model: Model, i: int, j: int, soft_targets: bool) -> bool:
    captions = model.retain.captions_B
    return bool(captions[i] == captions[j]) if soft_targets else i == j


def naive_softmax(model: Model, *, soft_targets: bool) -> Tensor:
    image, text = model.retain.image_bD, model.retain.text_bD
    n, total = len(image), torch.zeros((), dtype=torch.float64)
    for i in range(n):
        for query, candidates in ((image[i], text), (text[i], image)):
            weights = [torch.exp(model.scale * query.dot(c)) for c in candidates]
            mine = [j for j in range(n) if is_positive(model, i, j, soft_targets)]
            for j in mine:
                total = total - torch.log(weights[j] / sum(weights)) / len(mine)
    return total / (2 * n)


def naive_sigmoid(model: Model, *, soft_targets: bool) -> Tensor:
    image, text = model.retain.image_bD, model.retain.text_bD
    n, total = len(image), torch.zeros((), dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            logit = model.scale * image[i].dot(text[j]) + model.bias
            sign = 1 if is_positive(model, i, j, soft_targets) else -1
            total = total + torch.log(1 + torch.exp(-sign * logit))
    return total / n


PAIRED = [(softmax, naive_softmax), (sigmoid, naive_sigmoid)]


@pytest.mark.parametrize("soft_targets", [True, False])
@pytest.mark.parametrize(("loss", "naive"), PAIRED)
@pytest.mark.parametrize("captions", [(1, 2, 1, 8, 3), (5, 5, 5), (4,)])
def test_value_and_gradient_equal_a_loop_over_pairs(loss, naive, soft_targets, captions):
    assert_same_value_and_gradient(
        make_features(1, retain=captions),
        partial(loss, soft_targets=soft_targets),
        partial(naive, soft_targets=soft_targets),
    )


@pytest.mark.parametrize("soft_targets", [True, False])
@pytest.mark.parametrize("loss", [softmax, sigmoid])
def test_gradcheck(loss, soft_targets):
    assert_gradcheck(make_features(2), partial(loss, soft_targets=soft_targets))


def test_perfect_pairs_lose_nothing_and_one_caption_for_all_loses_log_n():
    eye = torch.eye(4, dtype=torch.float64)
    features = make_features(3, retain=(1, 2, 3, 4), scale=100.0)
    perfect = features.model(*features.leaves[:2], eye, eye, *features.leaves[4:])
    assert softmax(perfect, soft_targets=True).item() < 1e-12

    same = replace(perfect.retain, captions_B=torch.tensor([1, 1, 1, 1]))
    alike = replace(same, image_bD=eye[:1].expand(4, 4), image_BD=eye[:1].expand(4, 4))
    alike = replace(alike, text_bD=alike.image_bD, text_BD=alike.image_BD)
    value = softmax_contrastive(alike, scale=perfect.scale, soft_targets=True)
    assert value.item() == pytest.approx(log(4))


def test_positives_of_a_later_rank_start_at_its_offset():
    rows = make_features(4, retain=(1, 2, 1, 3)).model().retain
    second = replace(rows, image_bD=rows.image_bD[2:], text_bD=rows.text_bD[2:], offset=2)

    assert positives(second, soft_targets=False).int().tolist() == [[0, 0, 1, 0], [0, 0, 0, 1]]
    assert positives(second, soft_targets=True).int().tolist() == [[1, 0, 1, 0], [0, 0, 0, 1]]
