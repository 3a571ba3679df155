from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """As on the ranks; on a busy machine the threads of small models wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def write_shards() -> Callable[..., str]:
    """Writes `FOLDER/{000..}.tar` of the given sizes; gives a pattern for `SourceConfig`."""

    def write(folder: Path, counts: list[int], *, captions: list[str], first: int = 0) -> str:
        """Pair i of the set has caption i mod the number of captions, and image `first` + i."""
        folder.mkdir(parents=True)
        number = 0
        for shard, count in enumerate(counts):
            with webdataset.TarWriter(str(folder / f"{shard:03d}.tar"), mtime=0) as writer:
                for key in range(count):
                    caption = captions[number % len(captions)]
                    writer.write(
                        {"__key__": f"{key:05d}", "jpg": _photo(first + number), "txt": caption}
                    )
                    number += 1
        return str(folder / "*.tar")

    return write


def _photo(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC).save(stream, "jpeg")
    return stream.getvalue()
