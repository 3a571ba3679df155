"""Shards of real photos for benchmarks/data.py: those of scikit-image, scikit-learn, matplotlib."""

from __future__ import annotations

import io
import os
from pathlib import Path

import matplotlib
import numpy as np
import skimage.data
import sklearn.datasets
import webdataset as wds
from PIL import Image

_SKIMAGE = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "retina.jpg",
    "rocket.jpg",
)
QUALITY = 90


def photos() -> list[Image.Image]:
    """Colour photos of 300 to 1,411 pixels."""
    paths = [
        *(Path(skimage.data.__file__).parent / name for name in _SKIMAGE),
        *sorted((Path(sklearn.datasets.__file__).parent / "images").glob("*.jpg")),
        Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg",
    ]
    return [Image.open(path).convert("RGB") for path in paths]


def jpegs(side: int, count: int) -> list[bytes]:
    """`count` square crops of `side` pixels, all different; smaller photos are enlarged first."""
    rng, originals, made = np.random.default_rng(0), photos(), []
    for number in range(count):
        image = originals[number % len(originals)]
        factor = max(side * rng.uniform(1.0, 1.2) / min(image.size), 0.5)
        size = (round(image.width * factor), round(image.height * factor))
        image = image.resize(size, Image.Resampling.BICUBIC)
        left, top = (int(rng.integers(0, length - side + 1)) for length in size)
        stream = io.BytesIO()
        image.crop((left, top, left + side, top + side)).save(stream, "JPEG", quality=QUALITY)
        made.append(stream.getvalue())
    return made


def write_shards(folder: Path, images: list[bytes], *, shards: int, samples: int) -> str:
    """Writes `shards` shards of `samples` samples, images repeated in turn; returns the pattern."""
    folder.mkdir()
    number = 0
    for shard in range(shards):
        with wds.TarWriter(str(folder / f"{shard:05d}.tar"), mtime=0) as writer:
            for row in range(samples):
                writer.write(
                    {
                        "__key__": f"{shard:05d}{row:04d}",
                        "jpg": images[number % len(images)],
                        "txt": f"photo number {number % 997} of a thing that somebody saw there",
                        "json": "{}",
                    }
                )
                number += 1
    return f"{folder}/{{00000..{shards - 1:05d}}}.tar"


def link_shards(folder: Path, images: list[bytes], *, shards: int, samples: int) -> str:
    """The same, but every shard is the first one under another name: quick, and small on disk."""
    write_shards(folder, images, shards=1, samples=samples)
    for shard in range(1, shards):
        os.link(folder / "00000.tar", folder / f"{shard:05d}.tar")
    return f"{folder}/{{00000..{shards - 1:05d}}}.tar"
