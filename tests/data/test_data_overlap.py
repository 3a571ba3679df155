from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from dist_erase.batch import ImageSpec
from dist_erase.config.sizes import parse_size
from dist_erase.config.source import SourceConfig
from dist_erase.data.captions import CaptionPlan
from dist_erase.data.index import index_set
from dist_erase.data.overlap import find_overlap, refuse_overlap
from dist_erase.data.scan import iterate_set
from dist_erase.data.set_index import SetIndex
from dist_erase.errors import UserError

Shards = Callable[..., str]


@pytest.fixture
def sets(shards: Shards) -> tuple[SetIndex, SetIndex]:
    images: dict[int, bytes] = {}

    def remember(number: int, sample: dict) -> None:
        images[number] = sample["jpg"]

    def share(number: int, sample: dict) -> None:
        if number < 7:
            sample["jpg"] = images[number + 1]

    patterns = [shards([6, 6], "forget", remember), shards([5, 15], "retain", share)]
    forget, retain = (index_set(SourceConfig(shards=p), where="x") for p in patterns)
    return forget, retain


def test_equal_images_are_found_and_equal_keys_are_not(sets: tuple[SetIndex, SetIndex]) -> None:
    forget, retain = sets
    found = find_overlap(forget, retain, max_bytes=10**9)
    assert found.count == 7
    assert len(found.examples) == 5
    forget_name, retain_name = found.examples[0]
    assert forget_name.endswith("forget/000.tar/00001")
    assert retain_name.endswith("retain/000.tar/00000")
    assert found.forget_images == frozenset()
    with pytest.raises(UserError, match="7 retain samples have images of the forget set"):
        refuse_overlap(found)


def test_disjoint_sets_pass(sets: tuple[SetIndex, SetIndex], shards: Shards) -> None:
    other = index_set(SourceConfig(shards=shards([9], "elsewhere")), where="x")
    found = find_overlap(sets[0], other, max_bytes=10**9)
    assert (found.count, found.examples) == (0, ())
    refuse_overlap(found)


def test_a_large_retain_set_is_left_for_training(
    sets: tuple[SetIndex, SetIndex], spec: ImageSpec
) -> None:
    forget, retain = sets
    found = find_overlap(forget, retain, max_bytes=retain.bytes - 1)
    assert found.count is None
    assert "while training" in found.method
    [batch] = iterate_set(forget, CaptionPlan(), spec, nothing, batch=12)
    assert found.forget_images == frozenset(batch.image_ids.tolist())
    refuse_overlap(found)


def nothing(texts: list[str]) -> torch.Tensor:
    return torch.zeros(len(texts), 1, dtype=torch.int64)


@pytest.mark.parametrize(
    ("text", "size"), [("50GB", 50 * 10**9), ("1.5KB", 1500), ("7B", 7), ("2TB", 2 * 10**12)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size
