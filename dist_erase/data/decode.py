"""Encoded image → uint8 pixels at the model's size, as open_clip's evaluation transform gives them.

Exact: open_clip resizes and crops the PIL image in its own mode, then converts to RGB; so do we,
with the same calls in the same order, which makes the pixels equal to its own (a test holds us to
it). Scaled, for training only: large JPEGs are decoded at a half, a quarter or an eighth of their
size, and resized by a faster kernel. Normalising is left to the device. EXIF rotation is ignored,
as in open_clip.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from dist_erase.batch import ImageSpec
from dist_erase.config.data import MAX_PIXELS
from dist_erase.data.resize import Fit, fit_for, resize_exact, resize_fast
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
)
# PIL knows more; some of those start other programs (EPS: Ghostscript).
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
# A photo is decoded at a smaller scale while its sides stay this many times those it is resized
# to. Measured at 1 and 2 (docs/data.md): 2 keeps embeddings, 1 shows in them.
_MARGIN = 2
_SCALES = (8, 4, 2)


def decode_image(
    data: bytes, spec: ImageSpec, *, scaled: bool = False, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Decodes, resizes and crops an image.

    Args:
        data: the file's bytes.
        spec: the model's size and how images are brought to it.
        scaled: nearly the exact pixels, in a fraction of the time; for training.
        max_pixels: larger images are refused by their header, before a pixel is decoded; so are
            those that resizing would make larger (long and thin ones).

    Returns:
        uint8 [H, W, 3], RGB; writable, may be a view.

    Raises:
        BadSampleError: the bytes are no image that PIL can read whole (`image`), there are none
            (`empty`), or the image is above `max_pixels` (`too_large`).
    """
    if not data:
        raise BadSampleError("empty", "the image member has no bytes")
    try:
        pixels = _jpeg(data, spec, scaled, max_pixels)
        return _any_format(data, spec, scaled, max_pixels) if pixels is None else pixels
    except Image.DecompressionBombError as error:
        raise BadSampleError("too_large", str(error)) from error
    except _DAMAGED as error:
        # PIL names the stream by its address, which tells nobody anything.
        said = re.sub(r" <_io\.BytesIO object at 0x[0-9a-f]+>", "", str(error))
        raise BadSampleError("image", f"{type(error).__name__}: {said}") from error


def check_size(data: bytes, spec: ImageSpec, *, max_pixels: int = MAX_PIXELS) -> None:
    """Looks at an image's header only.

    Raises:
        BadSampleError: it is above `max_pixels`, or would be once it is brought to `spec`'s size.
        OSError: it is no image that PIL knows.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    _checked_fit(*image.size, spec, max_pixels)


def _jpeg(data: bytes, spec: ImageSpec, scaled: bool, max_pixels: int) -> NDArray[np.uint8] | None:
    """By simplejpeg where that is bit-equal to PIL, only faster; None = PIL has the last word."""
    if data[:2] != b"\xff\xd8":
        return None
    try:
        h, w, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None  # damaged or unusual
    fit = _checked_fit(w, h, spec, max_pixels)
    mode = {"YCbCr": "RGB", "Gray": "GRAY"}.get(colours)
    if mode is None:
        return None
    scale = _scale(w, h, fit) if scaled else 1
    try:
        pixels = simplejpeg.decode_jpeg(
            data, mode, min_height=-(-h // scale), min_width=-(-w // scale), min_factor=scale
        )
    except ValueError:
        return None  # damaged: what PIL makes of it, everyone else gets too
    if scaled:
        return _rgb(resize_fast(pixels, fit, spec, size=(w / scale, h / scale)))
    image = Image.fromarray(pixels if mode == "RGB" else pixels[:, :, 0])
    return _as_rgb(resize_exact(image, fit, spec))


def _any_format(data: bytes, spec: ImageSpec, scaled: bool, max_pixels: int) -> NDArray[np.uint8]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is ours
        image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
    fit = _checked_fit(*image.size, spec, max_pixels)
    image.load()
    if scaled and image.mode in ("RGB", "L"):
        pixels = np.array(image).reshape(image.height, image.width, -1)
        return _rgb(resize_fast(pixels, fit, spec, size=image.size))
    return _as_rgb(resize_exact(image, fit, spec))


def _checked_fit(w: int, h: int, spec: ImageSpec, max_pixels: int) -> Fit:
    if w * h > max_pixels:
        raise BadSampleError(
            "too_large", f"{w} x {h} = {w * h} pixels, more than data.max_pixels = {max_pixels}"
        )
    if not w * h:
        raise BadSampleError("image", f"{w} x {h} pixels")
    fit = fit_for(w, h, spec)
    if fit.width * fit.height > max(max_pixels, spec.width * spec.height):
        raise BadSampleError(
            "too_large",
            f"{w} x {h} pixels would be resized to {fit.width} x {fit.height}, more pixels than "
            f"data.max_pixels = {max_pixels}",
        )
    return fit


def _scale(w: int, h: int, fit: Fit) -> int:
    """The largest power of two that leaves `_MARGIN` times the size that is needed."""
    for scale in _SCALES:
        if w >= scale * _MARGIN * fit.width and h >= scale * _MARGIN * fit.height:
            return scale
    return 1


def _as_rgb(image: Image.Image) -> NDArray[np.uint8]:
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [H, W, 1 or 3] → [H, W, 3]."""
    return pixels if pixels.shape[2] == 3 else pixels.repeat(3, axis=2)
