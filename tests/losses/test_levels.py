"""Cosines of pairs and of those that are none, against loops over pairs."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from dist_erase.losses.levels import mismatched_sum, similarity_counts
from dist_erase.losses.rows import Rows


def drawn(n: int, captions: list[int], seed: int) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    draw = torch.Generator().manual_seed(seed)
    image, text = (F.normalize(torch.randn(n, 8, generator=draw), dim=1) for _ in range(2))
    return image, text, captions


def rows(whole: tuple[torch.Tensor, torch.Tensor, list[int]], start: int, stop: int) -> Rows:
    image, text, captions = whole
    return Rows(
        image_bD=image[start:stop],
        text_bD=text[start:stop],
        image_BD=image,
        text_BD=text,
        captions_B=torch.tensor(captions),
        offset=start,
    )


FORGET = drawn(4, [1, 1, 2, 3], seed=0)
RETAIN = drawn(6, [4, 2, 4, 5, 6, 3], seed=1)


def by_loops(one, start, stop, other) -> tuple[float, int]:
    total, count = 0.0, 0
    for i in range(start, stop):
        for j in range(len(other[2])):
            if one[2][i] != other[2][j]:
                total += float(one[0][i] @ other[1][j]) + float(one[1][i] @ other[0][j])
                count += 2
    return total, count


def test_mismatched_pairs_are_those_of_other_captions_in_both_directions():
    whole = rows(RETAIN, 0, 6)
    for source, start, stop in ((FORGET, 0, 2), (FORGET, 2, 4), (RETAIN, 0, 3), (RETAIN, 3, 6)):
        total, count = mismatched_sum(rows(source, start, stop), whole).tolist()
        want, number = by_loops(source, start, stop, RETAIN)
        assert count == number
        assert abs(total - want) < 1e-5


def test_captions_that_are_all_equal_leave_no_mismatched_pair():
    same = (RETAIN[0], RETAIN[1], [7] * 6)
    assert mismatched_sum(rows(same, 0, 6), rows(same, 0, 6)).tolist() == [0.0, 0.0]


def test_cosines_are_counted_up_to_and_including_each_bound():
    image = torch.tensor([[1.0, 0.0]] * 4)
    text = torch.tensor([[-0.5, 0.0], [0.5, 0.0], [0.25, 0.0], [0.75, 0.0]])
    pairs = Rows(
        image_bD=image,
        text_bD=text,
        image_BD=image,
        text_BD=text,
        captions_B=torch.arange(4),
        offset=0,
    )
    counts = similarity_counts(pairs, torch.tensor([-1.0, 0.0, 0.5]))
    assert counts.tolist() == [0, 1, 2, 1, 1.0]
