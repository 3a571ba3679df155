from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from dist_erase.evaluation.embed import ModelEmbeddings, SetEmbeddings
from dist_erase.evaluation.suite import count, measure
from dist_erase.evaluation.swap import measure_swap
from dist_erase.orchestration.evidence import versions

MakePairs = Callable[..., SetEmbeddings]


@pytest.fixture
def make_pairs() -> MakePairs:
    """Pairs from plain lists; a caption and an image of its own for each unless given."""

    def make(
        image: Sequence[Sequence[float]],
        text: Sequence[Sequence[float]],
        captions: Sequence[int] | None = None,
        images: Sequence[int] | None = None,
        labels: Sequence[int] | None = None,
    ) -> SetEmbeddings:
        n = len(image)
        return SetEmbeddings(
            image=torch.tensor(image, dtype=torch.float32),
            text=torch.tensor(text, dtype=torch.float32),
            caption_ids=torch.tensor(range(n) if captions is None else captions),
            image_ids=torch.tensor(range(n) if images is None else images),
            labels=torch.tensor([-1] * n if labels is None else labels),
        )

    return make


@pytest.fixture
def random_pairs() -> MakePairs:
    """Pairs with repeated captions, images and classes, embedded at random."""

    def make(n: int, seed: int, first_id: int = 0) -> SetEmbeddings:
        generator = torch.Generator().manual_seed(seed)

        def draw(high: int) -> torch.Tensor:
            return torch.randint(0, high, (n,), generator=generator)

        return SetEmbeddings(
            image=normalize(torch.randn(n, 8, generator=generator), dim=-1),
            text=normalize(torch.randn(n, 8, generator=generator), dim=-1),
            caption_ids=draw(n // 2) + first_id,
            image_ids=draw(n // 2) + first_id,
            labels=draw(4) - 1,
        )

    return make


@pytest.fixture
def report_parts() -> dict[str, Any]:
    """Arguments of build_report, measured on a random original and a random new model."""
    generator = torch.Generator().manual_seed(7)

    def unit(n: int) -> torch.Tensor:
        return normalize(torch.randn(n, 8, generator=generator), dim=-1)

    def model() -> ModelEmbeddings:
        sets, start = {}, 0
        for name, n in (("forget", 12), ("retain", 28)):
            ids = torch.arange(start, start + n)
            sets[name] = SetEmbeddings(
                image=unit(n), text=unit(n), caption_ids=ids, image_ids=ids, labels=ids % 10
            )
            start += n
        return ModelEmbeddings(sets=sets, class_text=unit(10))

    old, new = model(), model()
    return {
        "run_name": "quickstart",
        "before": measure(old),
        "after": measure(new),
        "swap": measure_swap(new, old),
        "training": {"steps": 120, "samples_per_second": 412.5, "seconds": 37.25},
        "floor": 0.125,
        "n": count(new),
        "seed": 0,
        "config_hash": "9f31c2a7",
        "versions": versions(),
        "teacher_fingerprint": "c0ffee",
        "overlap": {"count": 0, "examples": [], "method": "BLAKE2b, before the start"},
        "forget_never_read": [],
    }
