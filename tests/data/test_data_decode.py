from __future__ import annotations

import io
import random
from typing import Literal

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from dist_erase.batch import ImageSpec
from dist_erase.data.decode import decode_image
from dist_erase.errors import BadSampleError

KINDS = [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "RGBA")]
KINDS += [("PNG", "P"), ("PNG", "LA"), ("PNG", "I;16"), ("PNG", "1"), ("WEBP", "RGB")]


def picture(width: int, height: int, mode: str) -> Image.Image:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    image = coarse.resize((width, height), Image.Resampling.BICUBIC)
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 200)
    image = image.convert(mode)
    if mode in ("RGBA", "LA"):
        alpha = rng.integers(0, 256, (height, width), dtype=np.uint8)
        image.putalpha(Image.fromarray(alpha))
    return image


def encode(image: Image.Image, suffix: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, suffix, **options)
    return stream.getvalue()


def spec(height: int, width: int, **options: object) -> ImageSpec:
    return ImageSpec(height=height, width=width, mean=(0.5,) * 3, std=(0.5,) * 3, **options)


def as_open_clip(data: bytes, wanted: ImageSpec) -> torch.Tensor:
    transform = open_clip.image_transform(
        (wanted.height, wanted.width),
        is_train=False,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        resize_mode=wanted.resize_mode,
        interpolation=wanted.interpolation,
        fill_color=wanted.fill_color,
    )
    return (transform(Image.open(io.BytesIO(data))) * 255).round().to(torch.uint8)


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pixels_equal_those_of_open_clip(
    resize_mode: Literal["shortest", "longest", "squash"],
    interpolation: Literal["bicubic", "bilinear"],
) -> None:
    for suffix, mode in KINDS:
        for width, height in [(64, 48), (20, 31), (32, 32), (90, 10)]:
            data = encode(picture(width, height, mode), suffix)
            for target in [(32, 32), (24, 40), (40, 40)]:
                wanted = spec(
                    *target, resize_mode=resize_mode, interpolation=interpolation, fill_color=130
                )
                mine = torch.from_numpy(decode_image(data, wanted).copy()).permute(2, 0, 1)
                # Not "close": the same decoder output, resized by the same code.
                assert torch.equal(mine, as_open_clip(data, wanted)), (suffix, mode, width, target)


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"quality": 30}])
def test_every_kind_of_jpeg_equals_open_clip(options: dict[str, object]) -> None:
    data = encode(picture(61, 47, "RGB"), "JPEG", **options)
    mine = torch.from_numpy(decode_image(data, spec(32, 32)).copy()).permute(2, 0, 1)
    assert torch.equal(mine, as_open_clip(data, spec(32, 32)))


def test_orientation_tags_are_ignored_as_open_clip_does() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(picture(30, 30, "RGB"), "JPEG", exif=exif)
    plain = encode(picture(30, 30, "RGB"), "JPEG")
    assert np.array_equal(decode_image(data, spec(30, 30)), decode_image(plain, spec(30, 30)))


def test_an_image_of_the_right_size_is_not_touched() -> None:
    image = picture(16, 12, "RGB")
    decoded = decode_image(encode(image, "PNG"), spec(12, 16))
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, np.asarray(image))


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"not an image", b"\xff\xd8\xff" + bytes(99)])
def test_what_is_no_image_is_a_bad_sample(data: bytes) -> None:
    with pytest.raises(BadSampleError) as caught:
        decode_image(data, spec(8, 8))
    assert caught.value.reason == "image"


@pytest.mark.parametrize("suffix", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_image_is_a_bad_sample(suffix: str) -> None:
    data = encode(picture(64, 64, "RGB"), suffix)
    with pytest.raises(BadSampleError):
        decode_image(data[: len(data) // 2], spec(8, 8))


def test_damage_of_any_kind_is_a_bad_sample_or_an_image() -> None:
    rng = random.Random(0)
    originals = [encode(picture(40, 30, mode), suffix) for suffix, mode in KINDS]
    bad = 0
    for _ in range(600):
        data = bytearray(rng.choice(originals))
        for _ in range(rng.choice([1, 3, 10])):
            data[rng.randrange(min(len(data), rng.choice([64, 10**6])))] = rng.randrange(256)
        try:
            assert decode_image(bytes(data), spec(16, 16)).shape == (16, 16, 3)
        except BadSampleError:
            bad += 1
    assert 100 < bad < 600
