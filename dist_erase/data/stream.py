"""One part of the global batches: order → read → decode → tensors, for an equal share of streams.

This module is what data workers import: torch, numpy, PIL, webdataset, never ray.
"""

from __future__ import annotations

import time
from dataclasses import astuple, dataclass, replace

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from dist_erase.batch import DataWork, ImageSpec, PairBatch, Quarantined, Samples, StreamName
from dist_erase.config.train import AugmentConfig
from dist_erase.data.augment import apply_view, drawn_views
from dist_erase.data.captions import CaptionPlan
from dist_erase.data.draws import CAPTION, REPLACEMENT, draw
from dist_erase.data.order import Order
from dist_erase.data.read import BlockCache, BlockReader
from dist_erase.data.sample import Pair, Tokenizer, collate, decode_pair
from dist_erase.data.set_index import SetIndex
from dist_erase.data.sharing import share
from dist_erase.errors import BadSampleError, UserError

_MAX_ATTEMPTS = 100
_READ_AHEAD_STEPS = 4  # a store's answer takes longer than a step's images to decode


@dataclass(frozen=True, kw_only=True)
class StreamPlan:
    """One set and how it is streamed.

    Attributes:
        max_corrupt_fraction: share of the samples that may be unusable (replaced, reported).
        forbidden_images: image ids that are replaced wherever they turn up (the forget set's,
            when overlap is looked for while training).
    """

    name: StreamName
    index: SetIndex
    order: Order
    captions: CaptionPlan
    max_corrupt_fraction: float = 0.0
    forbidden_images: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """What every part of the global batches shares; travels to the data workers.

    `forget` is None when there is no forget stream; `augment` None means no augmentation. `scaled`
    and `max_pixels` are `decode.decode_image`'s.
    """

    retain: StreamPlan
    forget: StreamPlan | None
    image: ImageSpec
    tokenizer: Tokenizer
    seed: int
    augment: AugmentConfig | None
    cache_bytes: int
    scaled: bool
    max_pixels: int


class PartMaker:
    """Makes part `part` of `parts` of any step's global batch."""

    def __init__(self, settings: PairSettings, *, part: int, parts: int) -> None:
        cache = BlockCache(settings.cache_bytes)
        plans = [plan for plan in (settings.retain, settings.forget) if plan is not None]
        streams = sum(len(share(plan.order.streams, part, parts)) for plan in plans)
        self._retain, *rest = (
            _SetPart(plan, settings, cache, part, parts, streams) for plan in plans
        )
        self._forget = rest[0] if rest else None

    def make(self, step: int, images: dict[StreamName, Tensor] | None = None) -> PairBatch:
        """The part of a step; the same whatever was made before.

        Args:
            step: counted from 0.
            images: where each set's images go, uint8 [n, 3, H, W]; None = into new memory.

        Raises:
            OSError: a read failed.
            UserError: a shard changed, or a set has hardly any usable sample.
        """
        started = time.monotonic()
        places = images or {}
        retain, bad, read_bytes = self._retain.take(step, places.get("retain"))
        if self._forget is None:
            return PairBatch(
                step=step,
                retain=retain,
                quarantined=bad,
                read_bytes={"retain": read_bytes},
                work=self._work(started),
            )
        forget, forget_bad, forget_bytes = self._forget.take(step, places.get("forget"))
        return PairBatch(
            step=step,
            retain=retain,
            forget=forget,
            quarantined=bad + forget_bad,
            read_bytes={"retain": read_bytes, "forget": forget_bytes},
            work=self._work(started),
        )

    def _work(self, started: float) -> DataWork:
        parts = [part for part in (self._retain, self._forget) if part is not None]
        lookups = sum((part.lookups() for part in parts), DataWork())
        resident = psutil.Process().memory_info().rss
        return lookups + DataWork(seconds=time.monotonic() - started, resident_bytes=resident)


class _SetPart:
    """The same for one set."""

    def __init__(
        self,
        plan: StreamPlan,
        settings: PairSettings,
        cache: BlockCache,
        part: int,
        parts: int,
        cache_shared_by: int,
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._streams = share(plan.order.streams, part, parts)
        self._reader = BlockReader(
            plan.index,
            block=plan.order.block,
            cache=cache,
            streams=cache_shared_by,
            whole=plan.order.whole,
        )
        self._counted = (0, 0, 0, 0)

    def take(
        self, step: int, images: Tensor | None
    ) -> tuple[Samples, tuple[Quarantined, ...], int]:
        """Samples, what had to be replaced, bytes read."""
        before = self._reader.read_bytes
        bad: list[Quarantined] = []
        places = self._plan.order.at(step, self._streams)
        for soon in range(step, step + _READ_AHEAD_STEPS if self._reader.reads_remote else step):
            self._reader.read_ahead(self._plan.order.at(soon, self._streams).positions)
        captions = self._captions(places.passes, places.positions)
        pairs = [
            self._pair(int(position), int(caption), int(number), int(slot), bad)
            for position, caption, number, slot in zip(
                places.positions, captions, places.passes, places.slots, strict=True
            )
        ]
        samples = self._collate(pairs, places.passes, images)
        return samples, tuple(bad), self._reader.read_bytes - before

    def lookups(self) -> DataWork:
        """Lookups in caches since the last call."""
        disk, memory = self._plan.index.source, self._reader
        now = (memory.queries, memory.hits, disk.queries, disk.hits)
        queries, hits, disk_queries, disk_hits = (
            after - before for after, before in zip(now, self._counted, strict=True)
        )
        self._counted = now
        return DataWork(
            queries={"memory": queries, "disk": disk_queries},
            hits={"memory": hits, "disk": disk_hits},
        )

    def _collate(
        self, pairs: list[Pair], passes: NDArray[np.int64], images: Tensor | None
    ) -> Samples:
        """The pairs as tensors, each image in the view that its pass draws."""
        settings = self._settings
        if settings.augment is None:
            return collate(pairs, settings.tokenizer, images=images)
        positions = np.array([pair.position for pair in pairs])
        views = drawn_views(
            settings.augment, seed=settings.seed, passes=passes, positions=positions
        )
        seen = [
            replace(pair, image=apply_view(pair.image, view))
            for pair, view in zip(pairs, views, strict=True)
        ]
        samples = collate(seen, settings.tokenizer, images=images)
        table = torch.tensor([astuple(view) for view in views], dtype=torch.int64)
        return replace(samples, views=table)

    def _captions(
        self, passes: NDArray[np.int64], positions: NDArray[np.int64]
    ) -> NDArray[np.uint64]:
        """What decides a sample's caption in a pass, uint64 [n]."""
        return draw(self._settings.seed, CAPTION, passes, positions)

    def _pair(
        self,
        position: int,
        caption: int,
        number: int,
        slot: int,
        bad: list[Quarantined],
    ) -> Pair:
        """The sample at a place, or the first usable one of its replacements."""
        seed, size = self._settings.seed, len(self._plan.index)
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            try:
                return self._decode(position, caption)
            except BadSampleError as error:
                bad.append(self._entry(position, error))
            position = int(draw(seed, REPLACEMENT, number, slot, attempt)[0] % np.uint64(size))
            caption = int(self._captions(np.array([number]), np.array([position]))[0])
        raise UserError(
            bad[-1].shard,
            f"{_MAX_ATTEMPTS} {self._plan.name} samples in a row are unusable; the last is "
            f"{bad[-1].key} ({bad[-1].reason}: {bad[-1].detail}).",
            "Repair the set.",
        )

    def _decode(self, position: int, caption: int) -> Pair:
        return decode_pair(
            self._reader.read(position),
            position,
            captions=self._plan.captions,
            image=self._settings.image,
            draw=caption,
            forbidden=self._plan.forbidden_images,
            scaled=self._settings.scaled,
            max_pixels=self._settings.max_pixels,
        )

    def _entry(self, position: int, error: BadSampleError) -> Quarantined:
        shard, number, key = self._plan.index.label(position)
        return Quarantined(
            stream=self._plan.name,
            shard=shard,
            index=number,
            key=key,
            reason=error.reason,
            detail=error.detail,
            ordinal=self._plan.index.locate(position)[0],
        )
