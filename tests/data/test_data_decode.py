from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from support.photos import encode, photo_files

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


def spec(height: int, width: int, **options: object) -> ImageSpec:
    return ImageSpec(height=height, width=width, mean=(0.5,) * 3, std=(0.5,) * 3, **options)


def as_open_clip(data: bytes, wanted: ImageSpec) -> torch.Tensor:
    config = PreprocessCfg(
        size=(wanted.height, wanted.width),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        resize_mode=wanted.resize_mode,
        interpolation=wanted.interpolation,
        fill_color=wanted.fill_color,
    )
    transform = image_transform_v2(config, is_train=False)
    return (transform(Image.open(io.BytesIO(data))) * 255).round().to(torch.uint8)


def decoded(data: bytes, wanted: ImageSpec, **options: bool) -> torch.Tensor:
    return torch.from_numpy(decode_image(data, wanted, **options).copy()).permute(2, 0, 1)


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
                mine = decoded(data, wanted)
                # Not "close": the same decoder output, resized by the same code.
                assert torch.equal(mine, as_open_clip(data, wanted)), (suffix, mode, width, target)


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"quality": 30}])
def test_every_kind_of_jpeg_equals_open_clip(options: dict[str, object]) -> None:
    data = encode(picture(61, 47, "RGB"), "JPEG", **options)
    mine = decoded(data, spec(32, 32))
    assert torch.equal(mine, as_open_clip(data, spec(32, 32)))


@pytest.mark.parametrize("path", photo_files(), ids=lambda path: path.stem)
def test_real_photos_equal_open_clip(path: Path) -> None:
    data = path.read_bytes()
    for wanted in (
        spec(224, 224),
        spec(224, 224, interpolation="bilinear"),
        spec(224, 336),
        spec(240, 224, resize_mode="longest", fill_color=127),
        spec(384, 384, resize_mode="squash"),  # SigLIP
        spec(256, 192, resize_mode="squash", interpolation="bilinear"),
    ):
        assert torch.equal(decoded(data, wanted), as_open_clip(data, wanted)), wanted


def test_tall_and_wide_photos_of_any_size_equal_open_clip() -> None:
    # PIL chooses the order of its two passes by size.
    rng = random.Random(0)
    for _ in range(150):
        width, height, target = rng.randint(2, 150), rng.randint(2, 150), rng.randint(2, 40)
        data = encode(picture(width, height, rng.choice(["RGB", "L"])), "PNG")
        for interpolation in ("bicubic", "bilinear"):
            wanted = spec(target, target, interpolation=interpolation)
            assert torch.equal(decoded(data, wanted), as_open_clip(data, wanted)), (width, height)


def test_orientation_tags_are_ignored_as_open_clip_does() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    data = encode(picture(40, 30, "RGB"), "JPEG", exif=exif)
    plain = encode(picture(40, 30, "RGB"), "JPEG")
    for scaled in (False, True):
        mine = decoded(data, spec(24, 30), scaled=scaled)
        assert torch.equal(mine, decoded(plain, spec(24, 30), scaled=scaled))
    assert torch.equal(decoded(data, spec(24, 30)), as_open_clip(data, spec(24, 30)))


def test_an_image_of_the_right_size_is_not_touched() -> None:
    image = picture(16, 12, "RGB")
    decoded = decode_image(encode(image, "PNG"), spec(12, 16))
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, np.asarray(image))


@pytest.mark.parametrize("data", [b"\xff\xd8", b"not an image", b"\xff\xd8\xff" + bytes(99)])
def test_what_is_no_image_is_a_bad_sample(data: bytes) -> None:
    with pytest.raises(BadSampleError) as caught:
        decode_image(data, spec(8, 8))
    assert caught.value.reason == "image"


def test_a_member_without_bytes_has_a_reason_of_its_own() -> None:
    with pytest.raises(BadSampleError) as caught:
        decode_image(b"", spec(8, 8))
    assert caught.value.reason == "empty"


def test_postscript_never_reaches_an_interpreter() -> None:
    data = encode(picture(20, 20, "RGB"), "EPS")
    assert Image.open(io.BytesIO(data)).format == "EPS"  # PIL would hand it to Ghostscript
    with pytest.raises(BadSampleError, match="cannot identify") as caught:
        decode_image(data, spec(8, 8))
    assert caught.value.reason == "image"


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("suffix", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_image_is_a_bad_sample(suffix: str, scaled: bool) -> None:
    data = encode(picture(64, 64, "RGB"), suffix)
    for kept in (len(data) // 2, len(data) - 10):
        if suffix == "PNG" and kept > len(data) // 2:
            continue  # its last bytes are no pixels
        with pytest.raises(BadSampleError) as caught:
            decode_image(data[:kept], spec(8, 8), scaled=scaled)
        assert caught.value.reason == "image"


def test_damage_of_any_kind_is_a_bad_sample_or_an_image() -> None:
    rng = random.Random(0)
    originals = [encode(picture(40, 30, mode), suffix) for suffix, mode in KINDS]
    bad = 0
    for _ in range(600):
        data = bytearray(rng.choice(originals))
        for _ in range(rng.choice([1, 3, 10])):
            data[rng.randrange(min(len(data), rng.choice([64, 10**6])))] = rng.randrange(256)
        try:
            shape = decode_image(bytes(data), spec(16, 16), scaled=rng.random() < 0.5).shape
            assert shape == (16, 16, 3)
        except BadSampleError:
            bad += 1
    assert 100 < bad < 600
