"""scikit-learn's 1,797 handwritten digits, which arrive with pip, as an image-text data set."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from dist_erase.data.build.captions import caption_for, class_numbers
from dist_erase.data.build.dataset import BuildSummary, find_built
from dist_erase.data.build.recipe import Pair, Progress, SetName, Split
from dist_erase.data.build.writer import silent, write_dataset

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGIT_TEMPLATES = (
    "a photo of the digit {}.",
    "a handwritten digit {}.",
    "the number {} written by hand.",
    "a scan of the digit {}.",
    "someone wrote the number {}.",
    "a small grey picture of the digit {}.",
)
_HELD_OUT = 0.3


def build_digits(
    out: Path,
    *,
    forget: Sequence[str] = ("seven",),
    size: int = 32,
    seed: int = 0,
    shard_size: int = 512,
    overwrite: bool = False,
    workers: int = 0,
    progress: Progress = silent,
) -> BuildSummary:
    """Builds the digits data set: 8×8 scans, upsampled, 30 % of each class held out.

    Args:
        out: the data set's folder.
        forget: names of the digits to forget, zero..nine.
        size: pixels of a side of the JPEG images.
        seed: decides the split and each sample's caption template.
        shard_size: most samples in a shard.
        overwrite: replace a data set built with other options.
        workers: processes that read and write; 0 = none.
        progress: called with (what, done, planned).

    Raises:
        UserError: an unknown digit, or `out` holds something else.
    """
    forgotten = class_numbers(forget, DIGIT_NAMES)
    options: dict[str, Any] = {
        "source": "sklearn.datasets.load_digits",
        "forget": [DIGIT_NAMES[number] for number in forgotten],
        "size": size,
        "seed": seed,
        "held_out": _HELD_OUT,
        "templates": DIGIT_TEMPLATES,
        "shard_size": shard_size,
    }
    finished = find_built(out, builder="digits", options=options, overwrite=overwrite)
    if finished:
        return finished
    digits = load_digits()
    indices: dict[Split, Any] = {}
    indices["train"], indices["eval"] = train_test_split(
        np.arange(len(digits.target)),
        test_size=_HELD_OUT,
        stratify=digits.target,
        random_state=seed,
    )
    plan: dict[tuple[Split, SetName], list[_Scan]] = {}
    for split, numbers in indices.items():
        is_forgotten = np.isin(digits.target[numbers], forgotten)
        names: tuple[tuple[SetName, Any], ...] = (
            ("forget", is_forgotten),
            ("retain", ~is_forgotten),
        )
        for name, chosen in names:
            plan[split, name] = [
                _Scan(number=number, label=int(digits.target[number]), pixels=digits.images[number])
                for number in numbers[chosen].tolist()
            ]
    return write_dataset(
        out,
        plan,
        _Recipe(size=size, seed=seed),
        builder="digits",
        options=options,
        classes=DIGIT_NAMES,
        shard_size=shard_size,
        workers=workers,
        progress=progress,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class _Scan:
    """One digit; pixels are 8×8 with values 0..16."""

    number: int
    label: int
    pixels: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    size: int
    seed: int

    def image(self, scan: _Scan) -> bytes:
        return _jpeg(scan.pixels, self.size)

    def pair(self, scan: _Scan) -> Pair:
        key = f"{scan.number:06d}"
        return Pair(
            key=key,
            image=self.image(scan),
            extension="jpg",
            caption=caption_for(DIGIT_NAMES[scan.label], DIGIT_TEMPLATES, seed=self.seed, key=key),
            label=scan.label,
            facts={"index": scan.number},
        )

    def stamp(self, scan: _Scan) -> None:
        return None


def _jpeg(scan: Any, size: int) -> bytes:
    """An 8×8 scan with values 0..16 as an RGB JPEG."""
    grey = Image.fromarray(np.rint(scan * (255 / 16)).astype(np.uint8))
    stream = io.BytesIO()
    grey.resize((size, size), Image.Resampling.BICUBIC).convert("RGB").save(
        stream, "JPEG", quality=95
    )
    return stream.getvalue()
