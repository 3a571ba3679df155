"""A shard from elsewhere may hold pickles, which run code when they are loaded. None ever is."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dist_erase.batch import ImageSpec
from dist_erase.config.source import SourceConfig
from dist_erase.data.captions import CaptionPlan
from dist_erase.data.index import index_set
from dist_erase.data.read import BlockCache, BlockReader
from dist_erase.data.sample import decode_pair
from dist_erase.errors import BadSampleError

# Suffixes that webdataset's or torch's decoders unpickle.
SUFFIXES = ("pyd", "pickle", "pkl", "pth", "pt", "npy", "npz", "mp", "cbor", "ten", "tb")


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, crater: Path) -> None:
        self.crater = crater

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.crater),)


@pytest.fixture
def crater(tmp_path: Path) -> Path:
    return tmp_path / "crater"


@pytest.fixture
def bomb(crater: Path) -> bytes:
    live = pickle.dumps(Bomb(crater))
    pickle.loads(live)
    assert crater.is_dir()
    crater.rmdir()
    return live


def array_of_bombs(crater: Path) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Bomb(crater)], dtype=object), allow_pickle=True)
    return stream.getvalue()


def test_pickled_members_beside_a_pair_are_left_alone(
    shards: Callable[..., str], spec: ImageSpec, crater: Path, bomb: bytes
) -> None:
    def change(_: int, sample: dict[str, object]) -> None:
        sample |= dict.fromkeys(SUFFIXES, bomb) | {"npy": array_of_bombs(crater)}

    index = index_set(
        SourceConfig(shards=shards([4], change=change)), where="data.forget", cache_dir=None
    )
    reader = BlockReader(index, block=2, cache=BlockCache(10**6))
    for position in range(4):
        raw = reader.read(position)
        assert set(SUFFIXES) < set(raw)
        pair = decode_pair(raw, position, captions=CaptionPlan(), image=spec)
        assert pair.caption.text == f"set {position}"
    assert not crater.exists()


@pytest.mark.parametrize(
    ("suffix", "member", "reason"),
    [
        ("jpg", "txt", "image"),
        ("txt", "txt", "caption"),
        ("txt", "txt:lines", "caption"),
        ("json", "json:caption", "caption"),
        ("cls", "cls", "class"),
    ],
)
def test_a_pickle_under_another_name_is_a_bad_sample(
    suffix: str,
    member: str,
    reason: str,
    encoded: Callable[..., bytes],
    spec: ImageSpec,
    crater: Path,
    bomb: bytes,
) -> None:
    raw = {"jpg": encoded(0), "txt": b"x", "cls": b"0"} | {suffix: bomb}
    with pytest.raises(BadSampleError) as caught:
        decode_pair(raw, 0, captions=CaptionPlan(member=member, classes=("x",)), image=spec)
    assert caught.value.reason == reason
    assert not crater.exists()
