import pytest
import torch
from support.pairs import make_features

from dist_erase.losses.contrastive import sigmoid_contrastive, softmax_contrastive
from dist_erase.losses.retention import retention
from dist_erase.losses.rows import Model


@pytest.mark.parametrize("soft_targets", [True, False])
def test_retention_is_the_contrastive_loss_of_the_models_family(soft_targets):
    model = make_features(0).model()
    rows, scale, bias = model.retain, model.scale, model.bias

    clip = retention(model, family="softmax", soft_targets=soft_targets)
    siglip = retention(model, family="sigmoid", soft_targets=soft_targets)

    assert clip == softmax_contrastive(rows, scale=scale, soft_targets=soft_targets)
    assert siglip == sigmoid_contrastive(rows, scale=scale, bias=bias, soft_targets=soft_targets)
    assert clip != siglip


def test_retention_of_a_model_without_retain_pairs_names_what_is_missing():
    model = Model(forget=None, retain=None, scale=torch.tensor(1.0), bias=None)
    with pytest.raises(ValueError, match="needs retain pairs"):
        retention(model, family="softmax", soft_targets=True)
