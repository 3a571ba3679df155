"""Held-out sets to embeddings, once; every task of the evaluation reads the result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dist_erase.batch import Embeddings, Samples
from dist_erase.errors import UserError


class Encoder(Protocol):
    """A model that is only asked; `models.frozen.FrozenClip` is one."""

    def encode(self, images: Tensor, tokens: Tensor) -> Embeddings:
        """Embeds uint8 [n, 3, H, W] and int64 [n, L]; L2-normalised float32 on the CPU."""
        ...

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embeds int64 [n, L]; L2-normalised float32 [n, D] on the CPU."""
        ...


@dataclass(frozen=True, kw_only=True)
class SetEmbeddings:
    """n pairs of one set as one model sees them.

    Attributes:
        image: float32 [n, D], L2-normalised.
        text: float32 [n, D], L2-normalised.
        caption_ids: int64 [n]; equal numbers mean equal captions.
        image_ids: int64 [n]; equal numbers mean the same image.
        labels: int64 [n]; class numbers, -1 where there is none.
    """

    image: Tensor
    text: Tensor
    caption_ids: Tensor
    image_ids: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.image)

    @property
    def has_labels(self) -> bool:
        """Whether every pair has a class."""
        return bool((self.labels >= 0).all())


@dataclass(frozen=True, kw_only=True)
class ModelEmbeddings:
    """All that one model is measured by.

    Attributes:
        sets: by name; those named untouched/NAME stand apart (see `evaluation.suite`).
        class_text: float32 [C, D], one prompt embedding per class, L2-normalised; None where
            no class names are known.
    """

    sets: dict[str, SetEmbeddings]
    class_text: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One model on the held-out sets."""

    embeddings: ModelEmbeddings
    fingerprint: str


def embed_model(
    encoder: Encoder,
    sets: Mapping[str, Iterable[Samples]],
    prompts: Sequence[Tensor] | None,
) -> ModelEmbeddings:
    """Embeds every set and every class.

    Args:
        encoder: the model.
        sets: batches of pairs by set name; each is read once, in order.
        prompts: for each class the tokens int64 [T, L] of its name in T templates; None where
            no class names are known.

    Raises:
        UserError: a set is empty, or holds a class number without a name.
    """
    embedded = {name: _embed_set(encoder, name, batches) for name, batches in sets.items()}
    return ModelEmbeddings(
        sets=embedded, class_text=None if prompts is None else _embed_classes(encoder, prompts)
    )


def join(sets: Sequence[SetEmbeddings]) -> SetEmbeddings:
    """The sets one after another, as one."""
    names = [field.name for field in fields(SetEmbeddings)]
    return SetEmbeddings(**{name: torch.cat([getattr(s, name) for s in sets]) for name in names})


def _embed_set(encoder: Encoder, name: str, batches: Iterable[Samples]) -> SetEmbeddings:
    parts = []
    for batch in batches:
        answer = encoder.encode(batch.images, batch.tokens)
        parts.append(
            SetEmbeddings(
                image=answer.image,
                text=answer.text,
                caption_ids=batch.caption_ids,
                image_ids=batch.image_ids,
                labels=batch.labels,
            )
        )
    if not parts:
        raise UserError(
            f"data.eval.{name.replace('/', '.')}.shards",
            "the set holds no pairs.",
            "Name shards with at least one image-text pair.",
        )
    return join(parts)


def class_embeddings(prompts: Tensor, templates: Sequence[int]) -> Tensor:
    """One embedding per class: Radford et al. 2021, section 3.1.4, the mean over templates.

    Args:
        prompts: float32 [sum of templates, D], L2-normalised, class after class.
        templates: how many prompts each class has.

    Returns:
        float32 [C, D], L2-normalised.
    """
    means = [part.mean(dim=0) for part in torch.split(prompts, list(templates))]
    return normalize(torch.stack(means), dim=-1)


def _embed_classes(encoder: Encoder, prompts: Sequence[Tensor]) -> Tensor:
    flat = encoder.encode_text(torch.cat(list(prompts)))
    return class_embeddings(flat, [len(p) for p in prompts])
