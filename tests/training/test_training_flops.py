"""Operations of a forward by hand, and what is made of them."""

from __future__ import annotations

import pytest
import torch
from training_cases import BATCH_NORM, TINY, whole_set

from dist_erase.batch import PairBatch
from dist_erase.models.resolve import resolve
from dist_erase.models.student import Student
from dist_erase.observability.device import peak_flops, peak_of
from dist_erase.training.flops import ModelFlops, Utilisation, measure_flops


def test_a_tower_takes_what_its_matrices_take():
    student = Student(resolve(TINY, None), precision="fp32", logit_scale="frozen")
    flops = measure_flops(student)
    config = student.source.model_cfg
    text = config["text_cfg"]
    width, layers, length = text["width"], text["layers"], text["context_length"]
    # For each token and layer: 12 w² multiply-adds in matrices, 2 w · length in attention.
    block = 2 * length * (12 * width**2 + 2 * width * length)
    want = layers * block + 2 * width * config["embed_dim"]
    assert flops.text == pytest.approx(want, rel=0.02)
    assert flops.image > 0
    assert flops.image_trained
    assert flops.text_trained


def test_counting_leaves_the_statistics_of_batchnorm_alone():
    """A pretraining moves them with its images, and an image of zeros is none."""
    student = Student(
        resolve(BATCH_NORM, None), precision="fp32", logit_scale="frozen", freeze_statistics=False
    )
    student.train()
    before = {name: buffer.clone() for name, buffer in student.named_buffers()}
    assert any("running_mean" in name for name in before)
    measure_flops(student)
    assert student.training
    for name, buffer in student.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_a_step_counts_three_forwards_of_what_is_trained_and_equal_captions_once():
    forget, retain = (whole_set(name, 0).samples for name in ("forget", "retain"))
    batch = PairBatch(step=0, retain=retain, forget=forget)
    captions = len({*forget.caption_ids.tolist(), *retain.caption_ids.tolist()})
    assert captions < 24
    flops = ModelFlops(image=1000.0, text=10.0, image_trained=True, text_trained=False)
    assert flops.of_step(batch) == 3 * 24 * 1000 + captions * 10
    assert Utilisation(model=flops, peak=1e6).of_step(batch, 0.5) == flops.of_step(batch) / 5e5


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_only_peaks_that_are_known_are_told(name, peak):
    assert peak_of(name) == peak


def test_a_cpu_has_none():
    assert peak_flops(torch.device("cpu")) is None
