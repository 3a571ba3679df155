from __future__ import annotations

from dataclasses import replace

import torch

from dist_erase.batch import PairBatch, Samples, concat_samples
from dist_erase.data.digest import batch_digest, in_words

OF_TODAY = "07dacbbdd19ca17e"


def samples(views: list[tuple[int, int, int]] | None = None) -> Samples:
    n = 4
    made = Samples(
        images=torch.zeros(n, 3, 2, 2, dtype=torch.uint8),
        tokens=torch.zeros(n, 7, dtype=torch.int64),
        caption_ids=torch.arange(n) * 7,
        image_ids=torch.arange(n) - 2,
        labels=torch.arange(n),
        positions=torch.arange(n) + 100,
    )
    return made if views is None else replace(made, views=torch.tensor(views))


def batch(views: list[tuple[int, int, int]] | None = None) -> PairBatch:
    return PairBatch(step=0, retain=samples(views), forget=samples(views))


def digest(views: list[tuple[int, int, int]] | None = None) -> str:
    return in_words(batch_digest(batch(views), rank=0))


def test_without_augmentation_digests_stay_what_they_were() -> None:
    assert digest() == OF_TODAY  # rows of runs hold such numbers
    assert digest([(0, 0, 0)] * 4) == OF_TODAY


def test_every_part_of_a_view_counts() -> None:
    plain = [(0, 0, 0)] * 4
    changed = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)]
    digests = {digest([view, *plain[1:]]) for view in changed}
    digests.add(digest([*plain[:3], changed[0]]))  # and whose it is
    assert len(digests - {OF_TODAY}) == 6


def test_views_can_be_left_out_as_older_versions_did() -> None:
    viewed = batch([(1, -2, 1)] * 4)
    assert in_words(batch_digest(viewed, rank=0, views=False)) == OF_TODAY


def test_ranks_share_the_digest() -> None:
    views = [(1, -2, 1), (0, 0, 0), (0, 3, 0), (0, 0, 1)]
    whole = samples(views)
    halves = [
        Samples(**{name: value[rows] for name, value in vars(whole).items()})
        for rows in (slice(2), slice(2, 4))
    ]
    assert torch.equal(concat_samples(halves).views, whole.views)
    shares = [
        batch_digest(PairBatch(step=0, retain=half), rank=rank) for rank, half in enumerate(halves)
    ]
    assert in_words(sum(shares)) == in_words(batch_digest(PairBatch(step=0, retain=whole), rank=0))
