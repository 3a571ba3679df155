"""What reaches training, for any sizes, worlds, workers, dirt and interruptions."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset as wds
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from dist_erase.batch import ImageSpec, PairBatch, StreamName
from dist_erase.config.source import SourceConfig
from dist_erase.config.train import AugmentConfig
from dist_erase.data.captions import CaptionPlan
from dist_erase.data.digest import batch_digest
from dist_erase.data.index import index_set
from dist_erase.data.order import Order
from dist_erase.data.set_index import SetIndex
from dist_erase.data.sharing import allowed_worlds
from dist_erase.data.stream import PairSettings, PartMaker, StreamPlan

SPEC = ImageSpec(height=4, width=4, mean=(0.5,) * 3, std=(0.5,) * 3)
FIELDS = ("images", "tokens", "caption_ids", "image_ids", "labels", "positions", "views")


def letters(texts: list[str]) -> Tensor:
    return torch.tensor([[*map(ord, text[-5:].rjust(5))] for text in texts])


def photo(number: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "jpeg")
    return stream.getvalue()


def write_set(folder: Path, name: str, counts: list[int], bad: set[int]) -> SetIndex:
    number = 0
    (folder / name).mkdir()
    for shard, count in enumerate(counts):
        with wds.TarWriter(str(folder / name / f"{shard:02d}.tar")) as writer:
            for row in range(count):
                image = photo(number)[: 20 if number in bad else None]
                sample = {"__key__": f"{row:04d}", "jpg": image, "txt": f"{name} {number}"}
                writer.write(sample)
                number += 1
    source = SourceConfig(shards=f"{folder / name}/*.tar")
    return index_set(source, where=f"data.{name}", tolerant=True)


@st.composite
def sizes(draw: st.DrawFn, batch: int) -> list[int]:
    counts = draw(st.lists(st.integers(1, 20), min_size=1, max_size=4))
    counts[0] += max(0, batch + 3 - sum(counts))
    return counts


class Pair:
    """A forget and a retain set on disk, with some dirt, and how they are streamed."""

    def __init__(self, folder: Path, data: st.DataObject) -> None:
        self.orders = []
        plans = []
        names: tuple[StreamName, ...] = ("retain", "forget")
        for name in names:
            streams = data.draw(st.sampled_from([4, 8, 12]), label=f"{name} streams")
            batch = streams * data.draw(st.integers(1, 2), label=f"{name} pairs a stream")
            counts = data.draw(sizes(batch), label=f"{name} shards")
            bad = data.draw(st.sets(st.integers(0, sum(counts) - 1), max_size=sum(counts) // 3))
            index = write_set(folder, name, counts, bad)
            order = Order(
                counts=index.counts,
                block=data.draw(st.integers(1, 16), label="block"),
                window=data.draw(st.sampled_from([1, 8, 1000]), label="window"),
                streams=streams,
                batch=batch,
                seed=data.draw(st.integers(0, 2**31), label="seed"),
            )
            self.orders.append(order)
            plan = StreamPlan(
                name=name, index=index, order=order, captions=CaptionPlan(), max_corrupt_fraction=1
            )
            plans.append(plan)
        self.settings = PairSettings(
            retain=plans[0],
            forget=plans[1],
            image=SPEC,
            tokenizer=letters,
            seed=3,
            augment=AugmentConfig(flip=True),
            cache_bytes=data.draw(st.sampled_from([0, 4000, 10**7]), label="cache"),
            scaled=True,
            max_pixels=10**6,
        )

    def step(self, step: int, world: int, workers: int = 1) -> list[PairBatch]:
        """Fresh makers for every rank and worker, as after a restart."""
        parts = world * workers
        return [PartMaker(self.settings, part=n, parts=parts).make(step) for n in range(parts)]


def joined(parts: list[PairBatch], name: str, field: str) -> Tensor:
    return torch.cat([getattr(getattr(part, name), field) for part in parts])


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_any_restart_on_any_world_continues_with_the_very_next_batches(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(Path(folder), data)
        worlds = st.sampled_from(allowed_worlds(*pair.orders))
        start = data.draw(st.integers(0, 200), label="first step")
        undisturbed = PartMaker(pair.settings, part=0, parts=1)
        for step in range(start, start + 4):
            whole = undisturbed.make(step)
            world = data.draw(worlds, label="world")
            parts = pair.step(step, world)
            for name in ("retain", "forget"):
                for field in FIELDS:
                    found = joined(parts, name, field)
                    assert torch.equal(found, getattr(getattr(whole, name), field))
            total = sum(batch_digest(part, rank=rank) for rank, part in enumerate(parts))
            assert (total - batch_digest(whole, rank=0)) % 2**64 == 0
            # Each rank's part is its retain samples, then its forget samples.
            entries = sorted(map(repr, (q for part in parts for q in part.quarantined)))
            assert entries == sorted(map(repr, whole.quarantined))


@settings(deadline=None, max_examples=10)
@given(st.data())
def test_dirt_moves_nothing_else(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(Path(folder), data)
        retain = pair.settings.retain
        for step in range(3):
            batch = PartMaker(pair.settings, part=0, parts=1).make(step)
            planned = retain.order.at(step).positions.tolist()
            given_positions = batch.retain.positions.tolist()
            bad = {(q.shard, q.index) for q in batch.quarantined if q.stream == "retain"}
            for want, got in zip(planned, given_positions, strict=True):
                shard, number, _ = retain.index.label(want)
                assert (want == got) == ((shard, number) not in bad)


def test_one_forget_shard_feeds_8_ranks_with_4_workers_each(tmp_path: Path) -> None:
    index = write_set(tmp_path, "forget", [70], set())
    order = Order(counts=index.counts, block=64, window=4096, streams=32, batch=32, seed=1)
    plan = StreamPlan(name="retain", index=index, order=order, captions=CaptionPlan())
    settings = PairSettings(
        retain=plan,
        forget=None,
        image=SPEC,
        tokenizer=letters,
        seed=0,
        augment=None,
        cache_bytes=0,
        scaled=False,
        max_pixels=10**6,
    )
    makers = [PartMaker(settings, part=part, parts=32) for part in range(32)]
    for first in (0, 2, 4):  # passes of two steps
        seen = [int(m.make(s).retain.positions[0]) for s in (first, first + 1) for m in makers]
        assert len(set(seen)) == 64  # of 70: no pair twice, fewer than 32 left out


@pytest.mark.parametrize("fraction", [0.2, 0.75])
def test_lighter_patterns_give_their_share_of_every_pass(fraction: float) -> None:
    order = Order(
        counts=(300, 500, 200),
        block=16,
        window=64,
        streams=4,
        batch=4,
        seed=0,
        mix=((1, 1.0), (2, fraction)),
    )
    assert order.size == 300 + round(700 * fraction)
    passes = []
    for number in (0, 1):
        steps = range(number * order.run, (number + 1) * order.run)
        seen = np.concatenate([order.at(step).positions for step in steps])
        assert len(set(seen.tolist())) == len(seen) > order.size - 4
        assert abs((seen < 300).sum() - 300) < 4
        passes.append(set(seen[seen >= 300].tolist()))
    assert passes[0] != passes[1]
