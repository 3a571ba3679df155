from dataclasses import replace

import pytest
import torch

from dist_erase.batch import ImageSpec
from dist_erase.models.fingerprint import fingerprint

SPEC = ImageSpec(height=8, width=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
CONFIG = {"embed_dim": 4, "vision_cfg": {"width": 2}}


def state() -> dict[str, torch.Tensor]:
    return {"logit_scale": torch.tensor(2.5), "proj": torch.arange(6.0).view(2, 3)}


ORIGINAL = fingerprint(state(), CONFIG, SPEC)


def test_a_scalar_and_a_vector_of_one_are_the_same_model():
    assert fingerprint(state() | {"logit_scale": torch.tensor([2.5])}, CONFIG, SPEC) == ORIGINAL


def test_neither_order_nor_memory_layout_matters():
    turned = torch.arange(6.0).view(2, 3).T.contiguous().T
    assert not turned.is_contiguous()
    other = dict(reversed((state() | {"proj": turned}).items()))
    assert fingerprint(other, dict(reversed(CONFIG.items())), SPEC) == ORIGINAL


@pytest.mark.parametrize(
    "changed",
    [
        {"proj": torch.arange(6.0).view(2, 3) + torch.eye(2, 3) * 1e-6},
        {"proj": torch.arange(6.0, dtype=torch.float64).view(2, 3)},
        {"more": torch.zeros(1)},
        {"logit_scale": torch.tensor(2.5000002)},
    ],
    ids=["weight", "dtype", "name", "scalar"],
)
def test_any_change_of_weights_is_seen(changed):
    assert fingerprint(state() | changed, CONFIG, SPEC) != ORIGINAL


def test_architecture_and_preprocessing_are_part_of_it():
    assert fingerprint(state(), CONFIG | {"embed_dim": 5}, SPEC) != ORIGINAL
    assert fingerprint(state(), CONFIG, replace(SPEC, mean=(0.5, 0.5, 0.4))) != ORIGINAL
    assert fingerprint(state(), CONFIG, replace(SPEC, resize_mode="squash")) != ORIGINAL
