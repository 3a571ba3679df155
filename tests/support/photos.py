"""Real photos that come with scikit-image, scikit-learn and matplotlib."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib
import skimage.data
import sklearn.datasets
from PIL import Image

_SKIMAGE = (
    "astronaut.png",
    "brick.png",  # grey
    "camera.png",  # grey
    "chelsea.png",
    "coffee.png",
    "grass.png",  # grey
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)


def photo_files() -> list[Path]:
    """Of 300 to 1,411 pixels, PNG and JPEG, colour and grey."""
    return [
        *(Path(skimage.data.__file__).parent / name for name in _SKIMAGE),
        *(Path(sklearn.datasets.__file__).parent / "images").glob("*.jpg"),
        Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg",
    ]


def photos() -> dict[str, Image.Image]:
    """The photos by name, RGB."""
    return {path.stem: Image.open(path).convert("RGB") for path in photo_files()}


def encode(image: Image.Image, suffix: str = "JPEG", **options: object) -> bytes:
    """The file's bytes."""
    stream = io.BytesIO()
    image.save(stream, suffix, **options)
    return stream.getvalue()
