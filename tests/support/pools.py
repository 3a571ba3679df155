"""Pools of real shards, and the sets that a split made of them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import webdataset as wds
from PIL import Image

from dist_erase.config.source import SourceConfig
from dist_erase.data.sample import image_number


def photo(number: int, quality: int = 90) -> bytes:
    """An encoded image, another one for each number, not for each quality."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    large = Image.fromarray(coarse).resize((24, 24), Image.Resampling.BICUBIC)
    large.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def sample(number: int, captions: str | list[str] = "", label: int = 0, **members: bytes) -> dict:
    """A sample with a caption in .txt and in .json's field `caption`."""
    text = captions if isinstance(captions, str) else captions[0]
    return {
        "jpg": photo(number),
        "txt": (text or f"photo {number}").encode(),
        "json": json.dumps({"caption": captions}).encode(),
        "cls": str(label).encode(),
        **members,
    }


def write_pool(folder: Path, shards: Sequence[Sequence[dict]]) -> SourceConfig:
    """Shards 000.tar, 001.tar, ... whose keys start again in each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, samples in enumerate(shards):
        path = str(folder / f"{number:03d}.tar")
        with wds.TarWriter(path, encoder=False, mtime=0) as writer:
            for row, members in enumerate(samples):
                writer.write({"__key__": f"{row:06d}", **members})
    return SourceConfig(shards=str(folder / "*.tar"))


def read_set(out: Path, place: str) -> list[dict]:
    """The samples of a set, with `key`, `image` (its number) and `text`."""
    shards = sorted(str(path) for path in out.glob(f"{place}-*.tar"))
    if not shards:
        return []
    found = wds.WebDataset(shards, shardshuffle=False, empty_check=False)
    return [
        {
            "key": raw["__key__"],
            "image": image_number(raw["jpg"]),
            "text": raw["txt"].decode(),
            **raw,
        }
        for raw in found
    ]


def texts(out: Path, *places: str) -> list[str]:
    return sorted(row["text"] for place in places for row in read_set(out, place))


def files(out: Path) -> dict[str, str]:
    """SHA-256 of every file by its path in the folder."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }
