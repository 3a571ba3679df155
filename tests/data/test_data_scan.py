from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from dist_erase.batch import ImageSpec, concat_samples
from dist_erase.config.source import SourceConfig
from dist_erase.data.captions import CaptionPlan
from dist_erase.data.decode import decode_image
from dist_erase.data.index import index_set
from dist_erase.data.scan import iterate_set
from dist_erase.errors import UserError

Shards = Callable[..., str]


def lengths(texts: list[str]) -> torch.Tensor:
    return torch.tensor([[len(text), ord(text[-1])] for text in texts])


def test_a_set_is_read_in_order_whatever_the_batch(shards: Shards, spec: ImageSpec) -> None:
    index = index_set(SourceConfig(shards=shards([70, 3, 60])), where="x")
    batches = list(iterate_set(index, CaptionPlan(), spec, lengths, batch=50))
    assert [len(batch) for batch in batches] == [50, 50, 33]
    whole = concat_samples(batches)
    assert whole.positions.tolist() == list(range(133))
    assert whole.labels.tolist() == [number % 3 for number in range(133)]
    assert whole.images.shape == (133, 3, 8, 8)
    assert whole.images.dtype == torch.uint8
    assert {whole.tokens.dtype, whole.caption_ids.dtype, whole.image_ids.dtype} == {torch.int64}
    part = concat_samples(
        list(iterate_set(index, CaptionPlan(), spec, lengths, batch=7, start=65, stop=80))
    )
    for name in ("images", "tokens", "caption_ids", "image_ids", "positions"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[65:80])


def test_images_are_channels_rows_columns(shards: Shards, encoded: Callable[..., bytes]) -> None:
    index = index_set(SourceConfig(shards=shards([2], "s")), where="x")
    wide = ImageSpec(height=8, width=12, mean=(0.5,) * 3, std=(0.5,) * 3)
    [batch] = iterate_set(index, CaptionPlan(), wide, lengths, batch=2)
    expected = decode_image(encoded(ord("s") * 1000 + 1), wide)
    assert batch.images[1].permute(1, 2, 0).tolist() == expected.tolist()


def test_images_and_captions_have_numbers_of_their_own(shards: Shards, spec: ImageSpec) -> None:
    def same_content(number: int, sample: dict) -> None:
        if number in (4, 9):
            sample.update(jpg=shared["jpg"], txt="the same")
        shared.setdefault("jpg", sample["jpg"])

    shared: dict = {}
    index = index_set(SourceConfig(shards=shards([10], change=same_content)), where="x")
    [batch] = iterate_set(index, CaptionPlan(), spec, lengths, batch=10)
    assert batch.image_ids[4] == batch.image_ids[9] == batch.image_ids[0]
    assert len(set(batch.image_ids.tolist())) == 8
    assert batch.caption_ids[4] == batch.caption_ids[9]
    assert len(set(batch.caption_ids.tolist())) == 9


def test_a_bad_sample_is_named(shards: Shards, spec: ImageSpec) -> None:
    def corrupt(number: int, sample: dict) -> None:
        if number == 5:
            sample["jpg"] = sample["jpg"][:30]

    index = index_set(SourceConfig(shards=shards([4, 4], change=corrupt)), where="x")
    with pytest.raises(UserError, match=r"sample 00001 is unusable \(image: ") as caught:
        list(iterate_set(index, CaptionPlan(), spec, lengths, batch=4))
    assert caught.value.where == index.shards[1].path
