from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import torch
import torch.distributed as dist
from support.processes import run_ranks
from torch import Tensor
from torch.nn import functional as F

from dist_erase.batch import Embeddings, Samples
from dist_erase.distributed.context import RankContext
from dist_erase.training.slices import embed_over_ranks

SIZES = (1, 2, 5, 7, 12)
BATCH = 2


def the_set(size: int) -> Samples:
    draw = torch.Generator().manual_seed(size)
    numbers = torch.arange(size)
    return Samples(
        images=torch.randint(0, 256, (size, 3, 4, 4), dtype=torch.uint8, generator=draw),
        tokens=torch.randint(0, 99, (size, 6), generator=draw),
        caption_ids=numbers // 2,
        image_ids=2**62 + numbers,
        labels=numbers % 3 - 1,
        positions=numbers,
    )


def cut(whole: Samples, start: int, stop: int) -> Samples:
    return Samples(**{name: value[start:stop] for name, value in vars(whole).items()})


def read(whole: Samples, start: int, stop: int) -> Iterator[Samples]:
    for first in range(start, stop, BATCH):
        yield cut(whole, first, min(first + BATCH, stop))


def embed(samples: Samples) -> Embeddings:
    image = F.normalize(samples.images.flatten(1)[:, :8].float() + 1, dim=1)
    return Embeddings(image=image, text=F.normalize(samples.tokens.float() + 1, dim=1))


def embed_on_a_rank(rank: int) -> dict[int, tuple[Tensor, Tensor, dict[str, Tensor], list[int]]]:
    context = RankContext(rank=rank, world=dist.get_world_size(), device=torch.device("cpu"))
    found = {}
    for size in SIZES:
        lengths: list[int] = []

        def counting(samples: Samples, lengths: list[int] = lengths) -> Embeddings:
            lengths.append(len(samples))
            return embed(samples)

        whole, names = embed_over_ranks(size, partial(read, the_set(size)), counting, context)
        found[size] = (whole.image, whole.text, names, lengths)
    return found


@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_rank_has_the_whole_set_in_order_after_equally_many_forwards(world):
    by_rank = run_ranks(embed_on_a_rank, world)
    for size in SIZES:
        samples = the_set(size)
        expected = embed(samples)
        for image, text, names, _ in (found[size] for found in by_rank):
            assert torch.equal(image, expected.image)
            assert torch.equal(text, expected.text)
            assert names.keys() == {"caption_ids", "image_ids", "labels"}
            assert all(torch.equal(names[name], getattr(samples, name)) for name in names)
        forwards = [found[size][3] for found in by_rank]
        assert all(lengths == forwards[0] for lengths in forwards)  # ZeRO-3 would hang otherwise
        assert sum(forwards[0]) == -(-size // world)
