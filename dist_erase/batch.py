"""The nouns that travel between data, teacher, student and losses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

StreamName = Literal["forget", "retain"]
CacheLayer = Literal["memory", "disk"]


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """How a model wants its images (open_clip's preprocess config, resolved)."""

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize_mode: Literal["shortest", "longest", "squash"] = "shortest"
    fill_color: int = 0


@dataclass(frozen=True, kw_only=True)
class Samples:
    """n decoded image-text pairs of one set.

    Attributes:
        images: uint8 [n, 3, H, W], not normalised.
        tokens: int64 [n, L], the model's own tokenizer.
        caption_ids: int64 [n]; equal numbers mean equal captions (or equal class for
            `caption: cls`).
        image_ids: int64 [n]; first 8 bytes of BLAKE2b of the encoded image bytes.
        labels: int64 [n]; the `.cls` member, -1 where there is none.
        positions: int64 [n]; the sample's ordinal in its set (see `data.set_index.SetIndex`).
        views: int64 [n, 3], how `data.augment` changed each image: down, right, mirrored; [0, 3]
            where no image was changed.
    """

    images: Tensor
    tokens: Tensor
    caption_ids: Tensor
    image_ids: Tensor
    labels: Tensor
    positions: Tensor
    views: Tensor = field(default_factory=lambda: torch.zeros(0, 3, dtype=torch.int64))

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.images)


def concat_samples(parts: list[Samples]) -> Samples:
    """Joins parts in order, in new memory; raises ValueError on an empty list."""
    if not parts:
        raise ValueError("concat_samples needs at least one part")
    names = ("images", "tokens", "caption_ids", "image_ids", "labels", "positions", "views")
    return Samples(**{name: torch.cat([getattr(p, name) for p in parts]) for name in names})


@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """One unusable sample and why; one line of `quarantine.jsonl`.

    Attributes:
        shard: path or URL, without credentials; another one where a run goes on elsewhere.
        index: the sample's number in the shard.
        ordinal: the shard's number in its set, the same wherever the set lies; None = not known
            (lines of older versions).
    """

    stream: StreamName
    shard: str
    index: int
    key: str
    reason: str
    detail: str
    ordinal: int | None = None


@dataclass(frozen=True, kw_only=True)
class DataWork:
    """What making a batch took; travels with it, since data workers have no metrics of their own.

    Attributes:
        seconds: of the data workers, all of them added up.
        resident_bytes: memory that they hold.
        queries: blocks looked for, by cache.
        hits: those found.
    """

    seconds: float = 0.0
    resident_bytes: int = 0
    queries: Mapping[CacheLayer, int] = field(default_factory=dict)
    hits: Mapping[CacheLayer, int] = field(default_factory=dict)

    def __add__(self, other: DataWork) -> DataWork:
        """Both together."""
        return DataWork(
            seconds=self.seconds + other.seconds,
            resident_bytes=self.resident_bytes + other.resident_bytes,
            queries=Counter(self.queries) + Counter(other.queries),
            hits=Counter(self.hits) + Counter(other.hits),
        )


@dataclass(frozen=True, kw_only=True)
class PairBatch:
    """One rank's share of one step's global batch.

    `forget` is None when there is no forget stream (pretraining).
    """

    step: int
    retain: Samples
    forget: Samples | None = None
    quarantined: tuple[Quarantined, ...] = ()
    read_bytes: dict[StreamName, int] = field(default_factory=dict)
    work: DataWork = DataWork()


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """L2-normalised float32 embeddings of n pairs: image [n, D], text [n, D]."""

    image: Tensor
    text: Tensor


@dataclass(frozen=True, kw_only=True)
class TeacherAnswer:
    """The teacher's embeddings of one rank's batch; None where the objective needs none."""

    retain: Embeddings | None
    forget: Embeddings | None
