"""Resizing and cropping as open_clip's evaluation transform does: with PIL, or faster with torch.

The geometry (`fit_for`) is open_clip 3.3's `image_transform(is_train=False)`. `resize_exact` makes
PIL's own calls, so its pixels are open_clip's. `resize_fast` is torch's uint8 kernel: three to
seven times as fast; on CPUs with AVX2 a few pixels in a thousand differ, by one level of 256.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dist_erase.batch import ImageSpec

_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How an image is brought to a model's size.

    Attributes:
        width, height: what the whole image is resized to, before the centre crop or padding.
        interpolation: the filter.
        fill: the padding's level.
    """

    width: int
    height: int
    interpolation: Literal["bicubic", "bilinear"]
    fill: int


def fit_for(w: int, h: int, spec: ImageSpec) -> Fit:
    """The fit of an image of w x h pixels."""
    target_w, target_h = spec.width, spec.height
    if spec.resize_mode == "squash":
        return Fit(width=target_w, height=target_h, interpolation=spec.interpolation, fill=0)
    if spec.resize_mode == "shortest" and target_w == target_h:
        # torchvision's Resize(int) rounds the longer side down.
        longer = int(target_w * max(w, h) / min(w, h))
        size = (target_w, longer) if w <= h else (longer, target_w)
        return Fit(width=size[0], height=size[1], interpolation=spec.interpolation, fill=0)
    ratios = (h / target_h, w / target_w)
    if spec.resize_mode == "longest":
        ratio, interpolation, fill = max(ratios), spec.interpolation, spec.fill_color
    else:
        # open_clip forgets to hand its interpolation on here, so it is always bicubic.
        ratio, interpolation, fill = min(ratios), "bicubic", 0
    return Fit(
        width=round(w / ratio), height=round(h / ratio), interpolation=interpolation, fill=fill
    )


def resize_exact(image: Image.Image, fit: Fit, spec: ImageSpec) -> Image.Image:
    """Resizes and crops in the image's own mode; the pixels are PIL's.

    PIL resizes rows and columns in two passes, rounding in between, and chooses by the sizes which
    comes first: leaving out of a pass what the crop will drop would not give the same pixels.
    """
    if image.size != (fit.width, fit.height):
        image = image.resize((fit.width, fit.height), _RESAMPLING[fit.interpolation])
    return _crop(image, spec, fit.fill)


def resize_fast(
    image: NDArray[np.uint8], fit: Fit, spec: ImageSpec, *, size: tuple[float, float]
) -> NDArray[np.uint8]:
    """Resizes and crops a writable uint8 [h, w, C] (C = 3 or 1) to [H, W, C].

    `size` is the image's (w, h) in its own pixels, with the fraction that a scaled decoder rounds
    up: leaving that out shifts the picture by up to half a pixel of the result.
    """
    if image.shape[:2] != (fit.height, fit.width):
        # torch rounds image x factor down; the last term makes up for the division's rounding.
        factors = (fit.height / size[1] * (1 + 1e-9), fit.width / size[0] * (1 + 1e-9))
        resized = torch.nn.functional.interpolate(
            torch.from_numpy(image).permute(2, 0, 1)[None],
            scale_factor=factors,
            mode=fit.interpolation,
            antialias=True,
        )
        image = resized[0].permute(1, 2, 0).numpy()
    left, right = _edges(fit.width, spec.width)
    top, bottom = _edges(fit.height, spec.height)
    image = image[max(top, 0) : bottom, max(left, 0) : right]
    if image.shape[:2] == (spec.height, spec.width):
        return image
    rows, columns = (-min(edge, 0) for edge in (top, left))
    padded = np.full((spec.height, spec.width, image.shape[2]), fit.fill, np.uint8)
    padded[rows : rows + image.shape[0], columns : columns + image.shape[1]] = image
    return padded


def _edges(size: int, target: int) -> tuple[int, int]:
    """Where the target begins and ends on the resized image; begins below 0 where it is padded."""
    # Padded, the odd pixel is on the right or at the bottom; cropped, round() decides.
    first = -((target - size) // 2) if size < target else round((size - target) / 2)
    return first, first + target


def _crop(image: Image.Image, spec: ImageSpec, fill: int) -> Image.Image:
    """Centre crop; a smaller image is first padded."""
    w, h = image.size
    if (w, h) == (spec.width, spec.height):
        return image
    if w < spec.width or h < spec.height:
        padded_w, padded_h = max(w, spec.width), max(h, spec.height)
        colour = (fill,) * len(image.getbands()) if len(image.getbands()) > 1 else fill
        padded = Image.new(image.mode, (padded_w, padded_h), colour)
        if image.mode == "P" and (palette := image.getpalette()):
            padded.putpalette(palette)
        padded.paste(image, ((padded_w - w) // 2, (padded_h - h) // 2))
        image, w, h = padded, padded_w, padded_h
    left, top = _edges(w, spec.width)[0], _edges(h, spec.height)[0]
    return image.crop((left, top, left + spec.width, top + spec.height))
