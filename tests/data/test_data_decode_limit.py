"""Decompression bombs: refused by their header, before memory is spent."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import pytest
from PIL import Image
from support.photos import encode

from dist_erase.batch import ImageSpec
from dist_erase.config.data import MAX_PIXELS
from dist_erase.data.decode import decode_image
from dist_erase.errors import BadSampleError

SPEC = ImageSpec(height=8, width=8, mean=(0.5,) * 3, std=(0.5,) * 3)


def claiming(suffix: str, width: int, height: int) -> bytes:
    """A small file whose header says it is width x height."""
    data = bytearray(encode(Image.new("RGB", (64, 64)), suffix))
    if suffix == "JPEG":
        start = data.index(b"\xff\xc0") + 5
        data[start : start + 4] = struct.pack(">HH", height, width)
    elif suffix == "PNG":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    else:
        data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


@pytest.mark.parametrize("suffix", ["JPEG", "PNG", "BMP"])
@pytest.mark.parametrize(("width", "height"), [(10_000, 9_000), (14_000, 10_000), (60_000, 60_000)])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.filterwarnings("error")
def test_bombs_are_refused_by_their_header(
    suffix: str, width: int, height: int, scaled: bool
) -> None:
    data = claiming(suffix, width, height)
    tracemalloc.start()
    try:
        with pytest.raises(BadSampleError) as caught:
            decode_image(data, SPEC, scaled=scaled)
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("suffix", ["JPEG", "PNG"])
def test_the_limit_is_the_users(suffix: str) -> None:
    data = encode(Image.new("RGB", (60, 50)), suffix)
    assert decode_image(data, SPEC, max_pixels=3000).shape == (8, 8, 3)
    with pytest.raises(BadSampleError) as caught:
        decode_image(data, SPEC, max_pixels=2999)
    said = "60 x 50 = 3000 pixels, more than data.max_pixels = 2999"
    assert (caught.value.reason, caught.value.detail) == ("too_large", said)


@pytest.mark.parametrize("scaled", [False, True])
def test_a_thread_of_pixels_does_not_grow_into_a_bomb(scaled: bool) -> None:
    # Its short side becomes 224: open_clip would make 224 x 14,560,000 pixels of 65,000.
    thread = encode(Image.new("RGB", (1, 65_000)), "PNG")
    wanted = ImageSpec(height=224, width=224, mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(BadSampleError, match="would be resized to 224 x 14560000") as caught:
        decode_image(thread, wanted, scaled=scaled)
    assert caught.value.reason == "too_large"
    assert decode_image(encode(Image.new("RGB", (9, 9)), "PNG"), wanted, max_pixels=81).any() == 0


def test_the_default_is_what_pil_takes_without_a_warning() -> None:
    assert Image.MAX_IMAGE_PIXELS == MAX_PIXELS
