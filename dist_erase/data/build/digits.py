"""scikit-learn's 1,797 handwritten digits, which arrive with pip, as an image-text data set."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from dist_erase.data.build.captions import caption_for, class_numbers
from dist_erase.data.build.dataset import BuildSummary, find_finished
from dist_erase.data.build.writer import (
    Pair,
    PlannedSet,
    Progress,
    SetName,
    Split,
    write_dataset,
)

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
    progress: Progress | None = None,
) -> BuildSummary:
    """Builds the digits data set: 8×8 scans, upsampled, 30 % of each class held out.

    Args:
        out: the data set's folder.
        forget: names of the digits to forget, zero..nine.
        size: pixels of a side of the JPEG images.
        seed: decides the split and each sample's caption template.
        shard_size: most samples in a shard.
        overwrite: replace a data set built with other options.
        progress: called with (done, planned).

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
    finished = find_finished(out, builder="digits", options=options, overwrite=overwrite)
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
    plan: dict[tuple[Split, SetName], PlannedSet] = {}
    for split, numbers in indices.items():
        is_forgotten = np.isin(digits.target[numbers], forgotten)
        names: tuple[tuple[SetName, Any], ...] = (
            ("forget", is_forgotten),
            ("retain", ~is_forgotten),
        )
        for name, chosen in names:
            pairs = _pairs(digits, numbers[chosen], size=size, seed=seed)
            plan[split, name] = PlannedSet(count=int(chosen.sum()), pairs=pairs)
    return write_dataset(
        out,
        plan,
        builder="digits",
        options=options,
        classes=DIGIT_NAMES,
        shard_size=shard_size,
        progress=progress,
    )


def _pairs(digits: Any, numbers: Any, *, size: int, seed: int) -> Iterator[Pair]:
    for number in numbers.tolist():
        key, label = f"{number:06d}", int(digits.target[number])
        yield Pair(
            key=key,
            image=_jpeg(digits.images[number], size),
            extension="jpg",
            caption=caption_for(DIGIT_NAMES[label], DIGIT_TEMPLATES, seed=seed, key=key),
            label=label,
            facts={"index": number},
        )


def _jpeg(scan: Any, size: int) -> bytes:
    """An 8×8 scan with values 0..16 as an RGB JPEG."""
    grey = Image.fromarray(np.rint(scan * (255 / 16)).astype(np.uint8))
    stream = io.BytesIO()
    grey.resize((size, size), Image.Resampling.BICUBIC).convert("RGB").save(
        stream, "JPEG", quality=95
    )
    return stream.getvalue()
