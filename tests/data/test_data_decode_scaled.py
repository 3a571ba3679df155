"""Scaled decoding: close enough to open_clip's pixels that embeddings stay."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest
import simplejpeg
import torch
from numpy.typing import NDArray
from PIL import Image
from support.photos import encode, photos
from torch import Tensor

from dist_erase.batch import ImageSpec
from dist_erase.data.decode import decode_image
from dist_erase.models.preprocess import image_spec, normalise

PHOTOS = photos()


def differences(data: bytes, spec: ImageSpec) -> NDArray[np.int64]:
    exact = decode_image(data, spec).astype(int)
    return np.abs(exact - decode_image(data, spec, scaled=True))


def enlarged(image: Image.Image, short: int) -> Image.Image:
    factor = short / min(image.size)
    size = [round(side * factor) for side in image.size]
    return image.resize((size[0], size[1]), Image.Resampling.BICUBIC)


def mosaics() -> list[Image.Image]:
    """1,024 px with the fine detail of real photos: four of them, not enlarged."""
    large = [image for image in PHOTOS.values() if min(image.size) >= 500]
    made = []
    for first in range(len(large)):
        canvas = Image.new("RGB", (1024, 1024))
        for place in range(4):
            tile = large[(first + place) % len(large)]
            canvas.paste(tile, (512 * (place % 2), 512 * (place // 2)))
        made.append(canvas)
    return made


def cosines(a: Tensor, b: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(a, b)


def test_embeddings_of_real_photos_stay() -> None:
    torch.manual_seed(0)  # random weights: no pretrained ones can be had offline
    model = open_clip.create_model("ViT-B-32").eval()
    spec = image_spec(model)
    pictures = [*mosaics(), *(enlarged(image, 900) for image in list(PHOTOS.values())[::2])]
    files = [encode(image, quality=90) for image in pictures]
    assert {simplejpeg.decode_jpeg_header(data)[0] >= 896 for data in files} == {True}

    def embed(scaled: bool) -> Tensor:
        images = np.stack([decode_image(data, spec, scaled=scaled) for data in files])
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
        with torch.no_grad():
            return model.encode_image(normalise(pixels, spec, torch.device("cpu")))

    exact, scaled = embed(False), embed(True)
    assert cosines(exact, scaled).min() > 0.9998  # 0.999 is the bar
    # Random towers give all photos similar vectors; what tells them apart must stay as well.
    mean = exact.mean(dim=0)
    assert cosines(exact - mean, scaled - mean).min() > 0.999
    assert cosines(exact - mean, exact.roll(1, 0) - mean).max() < 0.95


@pytest.mark.parametrize("name", list(PHOTOS))
@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
def test_photos_below_twice_the_size_differ_by_rounding_only(name: str, resize_mode: str) -> None:
    spec = ImageSpec(
        height=224,
        width=260,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        resize_mode=resize_mode,  # type: ignore[arg-type]
        fill_color=99,
    )
    image = PHOTOS[name]
    if min(image.size) > 800:
        image = image.resize((700, 650))
    for data in (encode(image, quality=90), encode(image, "PNG"), encode(image.convert("L"))):
        found = differences(data, spec)
        assert found.max() <= 2
        assert (found > 0).mean() < 0.01


@pytest.mark.parametrize("size", [(1024, 1024), (1027, 1539), (2051, 1793), (4099, 3001)])
def test_sizes_that_do_not_divide_are_not_shifted(size: tuple[int, int]) -> None:
    spec = ImageSpec(height=224, width=224, mean=(0.5,) * 3, std=(0.5,) * 3)
    image = PHOTOS["motorcycle_left"].resize(size, Image.Resampling.BICUBIC)
    found = differences(encode(image, quality=95), spec)
    assert found.mean() < 0.7  # 2 and more without the fraction that decoders round up
    assert found.max() < 16


def test_small_images_are_enlarged_alike() -> None:
    spec = ImageSpec(height=224, width=224, mean=(0.5,) * 3, std=(0.5,) * 3)
    for size in [(30, 40), (100, 224), (224, 224), (1, 1)]:
        found = differences(encode(PHOTOS["coffee"].resize(size), "PNG"), spec)
        assert found.max() <= 2


def test_images_with_a_palette_or_alpha_are_exact() -> None:
    spec = ImageSpec(height=24, width=24, mean=(0.5,) * 3, std=(0.5,) * 3)
    image = PHOTOS["coffee"].resize((90, 60))
    for mode in ("P", "RGBA", "LA", "1"):
        assert not differences(encode(image.convert(mode), "PNG"), spec).any()
    assert not differences(encode(image.convert("CMYK")), spec).any()
