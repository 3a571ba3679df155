"""Encoded image → uint8 pixels at the model's size, as open_clip's evaluation transform gives them.

open_clip resizes and crops the PIL image in its own mode, then converts to RGB; so do we, with the
same calls in the same order, which makes the pixels equal to its own (a test holds us to it).
Normalising is left to the device. EXIF rotation is ignored, as in open_clip.
"""

from __future__ import annotations

import io
import re
import struct
import zlib

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from dist_erase.batch import ImageSpec
from dist_erase.errors import BadSampleError

# What PIL's decoders raise on damaged files, beside OSError.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    Image.DecompressionBombError,
)
_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def decode_image(data: bytes, spec: ImageSpec) -> NDArray[np.uint8]:
    """Decodes, resizes and crops an image.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        BadSampleError: the bytes are no image that PIL can read (`image`).
    """
    try:
        image = _fit(_open(data), spec)
        return np.asarray(image.convert("RGB"))
    except _DAMAGED as error:
        # PIL names the stream by its address, which tells nobody anything.
        said = re.sub(r" <_io\.BytesIO object at 0x[0-9a-f]+>", "", str(error))
        raise BadSampleError("image", f"{type(error).__name__}: {said}") from error


def _open(data: bytes) -> Image.Image:
    """Simplejpeg for what it decodes bit-equal to PIL, only faster; PIL for the rest."""
    if data[:2] == b"\xff\xd8":
        try:
            colours = simplejpeg.decode_jpeg_header(data)[2]
            if colours == "YCbCr":
                return Image.fromarray(simplejpeg.decode_jpeg(data, "RGB"))
        except ValueError:
            pass  # damaged or unusual: PIL, which everyone else reads with, has the last word
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def _fit(image: Image.Image, spec: ImageSpec) -> Image.Image:
    """open_clip 3.3 `image_transform(is_train=False)`, up to the conversion to RGB."""
    target_w, target_h = spec.width, spec.height
    resampling = _RESAMPLING[spec.interpolation]
    if spec.resize_mode == "squash":
        return _resize(image, target_w, target_h, resampling)
    w, h = image.size
    if spec.resize_mode == "shortest" and target_w == target_h:
        # torchvision's Resize(int) rounds the longer side down.
        short, long = sorted((w, h))
        longer = int(target_w * long / short)
        size = (target_w, longer) if w <= h else (longer, target_w)
        return _crop(_resize(image, *size, resampling), target_w, target_h, 0)
    ratios = (h / target_h, w / target_w)
    if spec.resize_mode == "longest":
        ratio, fill = max(ratios), spec.fill_color
    else:
        # open_clip forgets to hand its interpolation on here, so it is always bicubic.
        ratio, fill, resampling = min(ratios), 0, Image.Resampling.BICUBIC
    image = _resize(image, round(w / ratio), round(h / ratio), resampling)
    return _crop(image, target_w, target_h, fill)


def _resize(image: Image.Image, w: int, h: int, resampling: Image.Resampling) -> Image.Image:
    return image if image.size == (w, h) else image.resize((w, h), resampling)


def _crop(image: Image.Image, target_w: int, target_h: int, fill: int) -> Image.Image:
    """Centre crop; a smaller image is first padded, the odd pixel on the right and bottom."""
    w, h = image.size
    if w < target_w or h < target_h:
        padded_w, padded_h = max(w, target_w), max(h, target_h)
        colour = (fill,) * len(image.getbands()) if len(image.getbands()) > 1 else fill
        padded = Image.new(image.mode, (padded_w, padded_h), colour)
        if image.mode == "P" and (palette := image.getpalette()):
            padded.putpalette(palette)
        padded.paste(image, ((padded_w - w) // 2, (padded_h - h) // 2))
        image, w, h = padded, padded_w, padded_h
    left, top = round((w - target_w) / 2), round((h - target_h) / 2)
    if (w, h) == (target_w, target_h):
        return image
    return image.crop((left, top, left + target_w, top + target_h))
