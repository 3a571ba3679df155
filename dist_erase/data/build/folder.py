"""Image files with captions in a CSV or JSONL table, as an image-text data set."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from dist_erase.data.build.dataset import BuildSummary, find_built
from dist_erase.data.build.recipe import Pair, Progress, SetName, Split
from dist_erase.data.build.table import Row, read_table
from dist_erase.data.build.writer import silent, write_dataset
from dist_erase.errors import UserError
from dist_erase.storage import sha256_of_file

_HELD_OUT = 0.3
_EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}


def build_folder(
    out: Path,
    *,
    table: Path,
    images: Path | None = None,
    forget_regex: str | None = None,
    seed: int = 0,
    shard_size: int = 2048,
    overwrite: bool = False,
    workers: int = 0,
    progress: Progress = silent,
) -> BuildSummary:
    """Builds a data set from `table`, one pair a row; an image may have several rows.

    Args:
        out: the data set's folder.
        table: .csv or .jsonl with image, caption, and optionally split (train, eval), set
            (forget, retain) and label (a class name; for all rows or none).
        images: folder where the image paths start; None = the table's.
        forget_regex: an image is to be forgotten if any of its captions matches (case ignored);
            used instead of the column set.
        seed: holds out 30 % of the images of each set where the column split is empty, and mixes
            the rows.
        shard_size: most samples in a shard.
        overwrite: replace a data set built with other options.
        workers: processes that read and write; 0 = none.
        progress: called with (what, done, planned).

    Raises:
        UserError: names file, line and field of whatever is wrong in the table or an image.
    """
    rows = read_table(table, images or table.parent)
    options: dict[str, Any] = {
        "source": {"table": table.name, "sha256": sha256_of_file(table)},
        "images": str(images) if images else None,
        "forget_regex": forget_regex,
        "seed": seed,
        "held_out": _HELD_OUT,
        "shard_size": shard_size,
    }
    finished = find_built(out, builder="folder", options=options, overwrite=overwrite)
    if finished:
        return finished
    sets = _sets(rows, forget_regex)
    splits = _splits(rows, sets, seed)
    classes = _classes(rows)
    chosen: dict[tuple[Split, SetName], list[tuple[int, Row]]] = {
        (split, name): [] for split in ("train", "eval") for name in ("forget", "retain")
    }
    for number, row in enumerate(rows):
        chosen[splits[row.image], sets[row.image]].append((number, row))
    plan = {which: _mixed(some, seed) for which, some in chosen.items()}
    return write_dataset(
        out,
        plan,
        _Recipe({name: number for number, name in enumerate(classes)}),
        builder="folder",
        options=options,
        classes=classes,
        shard_size=shard_size,
        workers=workers,
        progress=progress,
    )


def _sets(rows: list[Row], forget_regex: str | None) -> dict[Path, SetName]:
    """The set of each image."""
    if forget_regex is None:
        return _agreed(rows, "set", _set_of)
    try:
        pattern = re.compile(forget_regex, re.IGNORECASE)
    except re.error as error:
        raise UserError(
            "--forget-regex", f"{forget_regex!r} is no pattern ({error}).", "Mend it."
        ) from error
    sets: dict[Path, SetName] = {}
    for row in rows:
        if row.set is not None:
            raise row.error(
                "set", f"is {row.set!r}, and --forget-regex is given too.", "Use one of the two."
            )
        if pattern.search(row.caption):
            sets[row.image] = "forget"
        else:
            sets.setdefault(row.image, "retain")
    return sets


def _set_of(row: Row) -> SetName:
    if row.set is None:
        raise row.error("set", "is empty.", "Write forget or retain, or use --forget-regex.")
    return "forget" if row.set == "forget" else "retain"


def _splits(rows: list[Row], sets: dict[Path, SetName], seed: int) -> dict[Path, Split]:
    """The split of each image: as the table says, else 30 % of each set's images for eval."""
    splits: dict[Path, Split] = _agreed(rows, "split", lambda row: row.split)
    undecided = [image for image in dict.fromkeys(row.image for row in rows) if not splits[image]]
    for name in ("forget", "retain"):
        images = [image for image in undecided if sets[image] == name]
        images.sort(key=lambda image: _draw(seed, image))
        held_out = round(len(images) * _HELD_OUT)
        splits |= dict.fromkeys(images[:held_out], "eval")
        splits |= dict.fromkeys(images[held_out:], "train")
    return splits


def _agreed(rows: list[Row], field: str, value_of: Callable[[Row], Any]) -> dict[Path, Any]:
    """The value of a field for each image; its rows must not contradict each other."""
    first: dict[Path, tuple[Row, Any]] = {}
    for row in rows:
        value = value_of(row)
        earlier, known = first.setdefault(row.image, (row, value))
        if value != known:
            raise row.error(
                field,
                f"is {value or 'empty'}, but line {earlier.line} says {known or 'nothing'} for "
                f"the same image {row.image}.",
                "Give all rows of an image the same.",
            )
    return {image: value for image, (_, value) in first.items()}


def _classes(rows: list[Row]) -> list[str]:
    if all(row.label is None for row in rows):
        return []
    for row in rows:
        if row.label is None:
            raise row.error("label", "is empty.", "Give every row a label, or none.")
    return sorted({row.label for row in rows if row.label is not None})


def _mixed(rows: list[tuple[int, Row]], seed: int) -> list[tuple[int, Row]]:
    """In a seeded order: tables are often sorted by class, and shards are shuffled in blocks."""
    return sorted(rows, key=lambda numbered: _draw(seed, numbered[0]))


def _draw(seed: int, thing: object) -> bytes:
    return hashlib.blake2b(f"{seed}/{thing}".encode(), digest_size=16).digest()


@dataclass(frozen=True)
class _Recipe:
    """Numbers of the classes; an item is a row with its number in the table."""

    numbers: dict[str, int]

    def image(self, item: tuple[int, Row]) -> bytes:
        """The file's bytes, decoded once to be sure that they can be."""
        row = item[1]
        content = _read(row)
        with _image_errors(row), Image.open(io.BytesIO(content)) as image:
            image.load()
            _extension(row, image)
        return content

    def pair(self, item: tuple[int, Row]) -> Pair:
        number, row = item
        content = _read(row)
        with _image_errors(row), Image.open(io.BytesIO(content)) as image:
            extension = _extension(row, image)
        return Pair(
            key=f"{number:08d}",
            image=content,
            extension=extension,
            caption=row.caption,
            label=None if row.label is None else self.numbers[row.label],
            facts={"index": number, "file": str(row.image)},
        )

    def stamp(self, item: tuple[int, Row]) -> list[int]:
        row = item[1]
        with _file_errors(row):
            facts = (row.root / row.image).stat()
        return [facts.st_size, facts.st_mtime_ns]


def _read(row: Row) -> bytes:
    with _file_errors(row):
        return (row.root / row.image).read_bytes()


def _extension(row: Row, image: Image.Image) -> str:
    if image.format not in _EXTENSIONS:
        raise row.error(
            "image",
            f"{row.root / row.image} is {image.format}.",
            f"Convert it to {', '.join(_EXTENSIONS)}.",
        )
    return _EXTENSIONS[image.format]


@contextmanager
def _file_errors(row: Row) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise row.error(
            "image", f"{row.root / row.image} cannot be read ({error.strerror}).", "Mend the path."
        ) from error


@contextmanager
def _image_errors(row: Row) -> Iterator[None]:
    try:
        yield
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise row.error(
            "image",
            f"{row.root / row.image} is not a readable image ({error}).",
            "Replace or remove it.",
        ) from error
