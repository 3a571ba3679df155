"""Fixtures for tests beside those on the shared Ray: real runs of an untrained model.

Imports are inside, so that tests which need none of this do not wait for torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def erasing(digits: Path, original: Path, runs: Path) -> dict[str, Any]:
    """A configuration of few and slow steps, so that a signal meets the run alive."""
    sets = {"forget": "forget-*.tar", "retain": "retain-*.tar"}
    return {
        "run": {"dir": str(runs)},
        "model": {
            "architecture": str(ROOT / "configs/models/tiny.json"),
            "pretrained": f"local-dir:{original}",
        },
        "data": {
            **{n: {"shards": f"{digits}/train/{p}"} for n, p in sets.items()},
            "eval": {n: {"shards": f"{digits}/eval/{p}"} for n, p in sets.items()},
            "classes": f"{digits}/classes.json",
            "workers": 0,  # each one is a fork server more, which imports torch
        },
        "train": {
            "forget_batch": 8,
            "retain_batch": 16,
            "micro_batch": 4,
            "max_steps": 16,
            "lr": 1e-3,
            "warmup_steps": 2,
            "precision": "fp32",
            "checkpoint": {"every_steps": 4, "keep_last": 10},
        },
        "teacher": {"replicas": 1, "dtype": "fp32"},
        "ray": {"workers": 2},
        "observe": {"grace_seconds": 0},
    }


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    from dist_erase.data.build.digits import build_digits

    out = tmp_path_factory.mktemp("data") / "digits"
    build_digits(out)
    return out


@pytest.fixture(scope="session")
def sgd():
    """What makes steps comparable over numbers of ranks: Adam turns noise into steps."""
    return ("train.optimizer=sgd", "train.lr=0.05", "train.grad_clip=0")


@pytest.fixture(scope="session")
def light(digits, tmp_path_factory):
    """A bench without Ray and with an untrained model.

    There is no floor, below which such a model begins.
    """
    from support.runs import Bench
    from support.tiny import new_model

    runs = tmp_path_factory.mktemp("light")
    model = new_model(str(ROOT / "configs/models/tiny.json"), runs / "original" / "model")
    tree = erasing(digits, model, runs) | {"objective": {"forget": {"floor": "none"}}}
    config = runs / "erase.yaml"
    config.write_text(yaml.safe_dump(tree))
    return Bench(config=config, runs=runs, address="")


@pytest.fixture(scope="session")
def light_reference(light, sgd):
    """An undisturbed run by the deepspeed launcher: two processes, ZeRO-2, teacher in-process."""
    light.run("reference", *sgd, deepspeed=2)
    return light.folder("reference")
