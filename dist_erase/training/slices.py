"""A whole set embedded by all ranks together, each a slice of equal length."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from dist_erase.batch import Embeddings, Samples, concat_samples
from dist_erase.distributed.context import RankContext
from dist_erase.distributed.gather import gather

Read = Callable[[int, int], Iterator[Samples]]
Embed = Callable[[Samples], Embeddings]


def embed_over_ranks(
    size: int, read: Read, embed: Embed, context: RankContext
) -> tuple[Embeddings, dict[str, Tensor]]:
    """Embeds `size` samples (a collective); the result is in set order on every rank's CPU.

    Slices overlap where the world does not divide the set, so that every rank makes equally
    many forwards: under ZeRO-3 a missing one would hang the others.

    Args:
        size: samples in the set.
        read: (start, stop) to batches in set order.
        embed: one batch to normalised float32 embeddings.
        context: this rank.

    Returns:
        Embeddings [size, D], and by name `caption_ids`, `image_ids`, `labels`, int64 [size].
    """
    per_rank = math.ceil(size / context.world)
    start = min(context.rank * per_rank, size - per_rank)
    images, texts, kept = [], [], []
    for samples in read(start, start + per_rank):
        embeddings = embed(samples)
        images.append(embeddings.image)
        texts.append(embeddings.text)
        kept.append(_without_pixels(samples))
    mine = concat_samples(kept)

    def whole(rows: Tensor) -> Tensor:
        return gather(rows.to(context.device)).cpu()

    _, firsts = np.unique(whole(mine.positions).numpy(), return_index=True)
    order = torch.from_numpy(firsts)
    names = ("caption_ids", "image_ids", "labels")
    return (
        Embeddings(image=whole(torch.cat(images))[order], text=whole(torch.cat(texts))[order]),
        {name: whole(getattr(mine, name))[order] for name in names},
    )


def _without_pixels(samples: Samples) -> Samples:
    fields = {name: value for name, value in vars(samples).items() if name != "images"}
    return Samples(images=samples.images[:, :0, :0, :0], **fields)
