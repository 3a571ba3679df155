"""Small real shards, written by webdataset's own writer."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import webdataset as wds
from PIL import Image
from support.pair_streams import FORGET, RETAIN, Change, Make, Plans, Shards, characters, plan

from dist_erase.batch import ImageSpec
from dist_erase.config.train import AugmentConfig
from dist_erase.data.pairs import PairStream, StreamPlan


def photo(number: int, size: tuple[int, int] = (20, 16), suffix: str = "jpeg") -> bytes:
    """An encoded image of (width, height), different for each number."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(stream, suffix)
    return stream.getvalue()


@pytest.fixture
def encoded() -> Callable[..., bytes]:
    return photo


@pytest.fixture
def spec() -> ImageSpec:
    return ImageSpec(height=8, width=8, mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture
def shards(tmp_path: Path) -> Callable[..., str]:
    """Writes shards `NAME/{000..}.tar` of the given sizes; returns a pattern for `SourceConfig`."""

    def write(
        counts: list[int], name: str = "set", change: Callable[[int, dict], None] | None = None
    ) -> str:
        folder = tmp_path / name
        folder.mkdir()
        first = sum(map(ord, name)) * 1000  # sets of different names share no image
        for shard, count in enumerate(counts):
            with wds.TarWriter(str(folder / f"{shard:03d}.tar"), mtime=0) as writer:
                for row in range(count):
                    number = sum(counts[:shard]) + row
                    sample = {
                        "__key__": f"{row:05d}",
                        "jpg": photo(first + number),
                        "txt": f"{name} {number}",
                        "cls": str(number % 3),
                    }
                    if change is not None:
                        change(number, sample)
                    writer.write(sample)
        return str(folder / "*.tar")

    return write


@pytest.fixture
def plans(shards: Shards) -> Plans:
    """Makes the plans of a pair of small sets; `retain` and `forget` are options of theirs."""
    patterns: dict[str, str] = {}

    def build(
        change: Change | None = None,
        retain: dict[str, object] | None = None,
        forget: dict[str, object] | None = None,
    ) -> dict[str, StreamPlan]:
        if not patterns:
            patterns["retain"] = shards([20, 30], "retain", change)
            patterns["forget"] = shards([15], "forget")
        return {
            "retain": plan(patterns["retain"], "retain", RETAIN, **(retain or {})),
            "forget": plan(patterns["forget"], "forget", FORGET, **(forget or {})),
        }

    return build


@pytest.fixture
def make(spec: ImageSpec) -> Iterator[Make]:
    """Makes streams and closes them."""
    streams = []

    def build(plans: dict[str, StreamPlan], **options: object) -> PairStream:
        augment = AugmentConfig(crop=2, flip=True)
        defaults = {"image": spec, "tokenizer": characters, "seed": 5, "augment": augment}
        streams.append(PairStream(**(plans | defaults | options)))
        return streams[-1]

    yield build
    for stream in streams:
        stream.close()
