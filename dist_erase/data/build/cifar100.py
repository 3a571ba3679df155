"""CIFAR-100, from the parquet files of its Hugging Face card or from torchvision's folder."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image
from pyarrow.lib import ArrowException

from dist_erase.data.build.captions import caption_for, class_numbers
from dist_erase.data.build.dataset import BuildSummary, find_built
from dist_erase.data.build.recipe import Pair, Progress, SetName, Split
from dist_erase.data.build.writer import silent, write_dataset
from dist_erase.errors import UserError

CIFAR_TEMPLATES = (
    "a photo of a {}.",
    "a blurry photo of a {}.",
    "a low contrast photo of a {}.",
    "a photo of the {}.",
    "a photo of a small {}.",
    "a photo of a big {}.",
)
_FOLDER_HELP = (
    "Name the folder that holds train-*.parquet and test-*.parquet of the data set "
    "uoft-cs/cifar100 (huggingface.co/datasets/uoft-cs/cifar100), or the folder that holds "
    "torchvision's cifar-100-python."
)
_COLUMNS = ["img", "fine_label", "coarse_label"]


@dataclass(frozen=True, kw_only=True)
class _Photo:
    """One image as the source has it."""

    split: Split
    index: int
    png: bytes
    fine: int
    coarse: int | None


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A copy of CIFAR-100: what identifies it, its class names, and how to read it."""

    identity: dict[str, Any]
    fine: tuple[str, ...]
    coarse: tuple[str, ...] | None
    read: Callable[[Split], list[_Photo]]


def build_cifar100(
    out: Path,
    *,
    source: Path,
    forget: Sequence[str] = ("apple",),
    forget_count: int | None = None,
    seed: int = 0,
    shard_size: int = 2048,
    overwrite: bool = False,
    workers: int = 0,
    progress: Progress = silent,
) -> BuildSummary:
    """Builds CIFAR-100; its own training and test sets become `train` and `eval`.

    Args:
        out: the data set's folder.
        source: folder with the parquet files, or with torchvision's cifar-100-python.
        forget: names of the classes to forget.
        forget_count: how many classes to forget: those named, then the first others of a
            permutation that `seed` decides; None = those named.
        seed: decides that permutation and each sample's caption template.
        shard_size: most samples in a shard.
        overwrite: replace a data set built with other options.
        workers: processes that read and write; 0 = none.
        progress: called with (what, done, planned).

    Raises:
        UserError: an unknown class, a source without the files or with unreadable ones, or `out`
            holds something else.
    """
    origin = _open_source(source)
    numbers = class_numbers(forget, origin.fine)
    if forget_count is not None:
        numbers = _extend(numbers, forget_count, len(origin.fine), seed)
    options: dict[str, Any] = {
        "source": origin.identity,
        "forget": [origin.fine[number] for number in numbers],
        "seed": seed,
        "templates": CIFAR_TEMPLATES,
        "shard_size": shard_size,
    }
    finished = find_built(out, builder="cifar100", options=options, overwrite=overwrite)
    if finished:
        return finished
    plan: dict[tuple[Split, SetName], list[_Photo]] = {}
    splits: tuple[Split, ...] = ("train", "eval")
    for split in splits:
        plan[split, "forget"], plan[split, "retain"] = [], []
        for photo in origin.read(split):
            plan[split, "forget" if photo.fine in numbers else "retain"].append(photo)
    return write_dataset(
        out,
        plan,
        _Recipe(fine=origin.fine, coarse=origin.coarse, seed=seed),
        builder="cifar100",
        options=options,
        classes=origin.fine,
        shard_size=shard_size,
        workers=workers,
        progress=progress,
    )


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    fine: tuple[str, ...]
    coarse: tuple[str, ...] | None
    seed: int

    def image(self, photo: _Photo) -> bytes:
        return photo.png

    def pair(self, photo: _Photo) -> Pair:
        key = f"{photo.split}-{photo.index:06d}"
        facts: dict[str, Any] = {"index": photo.index}
        if photo.coarse is not None:
            facts["coarse_label"] = photo.coarse
        if photo.coarse is not None and self.coarse:
            facts["coarse_name"] = self.coarse[photo.coarse]
        return Pair(
            key=key,
            image=photo.png,
            extension="png",
            caption=caption_for(self.fine[photo.fine], CIFAR_TEMPLATES, seed=self.seed, key=key),
            label=photo.fine,
            facts=facts,
        )

    def stamp(self, photo: _Photo) -> None:
        return None


def _extend(numbers: list[int], count: int, classes: int, seed: int) -> list[int]:
    """The named classes and then others, so that sets of one seed are nested."""
    if not len(numbers) <= count < classes:
        raise UserError(
            "--forget-count",
            f"is {count}, with {len(numbers)} classes named and {classes} in all.",
            f"Use {len(numbers)} to {classes - 1}.",
        )
    others = [number for number in range(classes) if number not in numbers]
    random.Random(seed).shuffle(others)
    return (numbers + others)[:count]


def _open_source(folder: Path) -> _Source:
    for root in (folder, folder / "cifar100"):
        if any(root.glob("train-*.parquet")) or any(root.glob("test-*.parquet")):
            return _parquet(root)
    if (folder / "cifar-100-python").is_dir():
        return _torchvision(folder)
    problem = "holds no CIFAR-100." if folder.is_dir() else "does not exist."
    raise UserError(str(folder), problem, _FOLDER_HELP)


def _parquet(root: Path) -> _Source:
    files: dict[Split, list[Path]] = {
        "train": sorted(root.glob("train-*.parquet")),
        "eval": sorted(root.glob("test-*.parquet")),
    }
    for split, prefix in (("train", "train"), ("eval", "test")):
        if not files[split]:  # type: ignore[index]  # split is one of the two keys
            raise UserError(str(root), f"holds no {prefix}-*.parquet.", _FOLDER_HELP)
    every = files["train"] + files["eval"]
    fine, coarse = _class_names(root, every[0])
    return _Source(
        identity={"parquet": {path.name: path.stat().st_size for path in every}},
        fine=fine,
        coarse=coarse,
        read=lambda split: _read_parquet(split, files[split], len(fine)),
    )


def _read_parquet(split: Split, paths: list[Path], classes: int) -> list[_Photo]:
    photos: list[_Photo] = []
    for path in paths:
        try:
            rows = pq.read_table(path, columns=_COLUMNS).to_pylist()
        except (ArrowException, OSError) as error:
            raise UserError(
                str(path), f"cannot be read as CIFAR-100 ({error}).", "Download it again."
            ) from error
        for row_number, row in enumerate(rows):
            if set(row) != set(_COLUMNS) or not row["img"] or not row["img"].get("bytes"):
                raise UserError(
                    f"{path}, row {row_number}",
                    f"has no image in the column img (columns: {', '.join(row)}).",
                    "Download it again.",
                )
            if not 0 <= row["fine_label"] < classes:
                raise UserError(
                    f"{path}, row {row_number}",
                    f"has the fine_label {row['fine_label']}, with {classes} class names.",
                    "Mend classes.json, or download the file again.",
                )
            photos.append(
                _Photo(
                    split=split,
                    index=len(photos),
                    png=row["img"]["bytes"],
                    fine=row["fine_label"],
                    coarse=row["coarse_label"],
                )
            )
    return photos


def _class_names(root: Path, parquet: Path) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Names from `classes.json` ({"fine": [...], "coarse": [...]}) or from the parquet's card."""
    if (root / "classes.json").is_file():
        names = json.loads((root / "classes.json").read_text(encoding="utf-8"))
        fine, coarse = names["fine"], names.get("coarse")
    else:
        card = (pq.read_schema(parquet).metadata or {}).get(b"huggingface")
        if card is None:
            raise UserError(
                str(root), "has no class names.", 'Add a classes.json: {"fine": ["apple", ...]}.'
            )
        features = json.loads(card)["info"]["features"]
        fine, coarse = features["fine_label"]["names"], features["coarse_label"]["names"]
    return tuple(_spaced(fine)), tuple(_spaced(coarse)) if coarse else None


def _torchvision(folder: Path) -> _Source:
    # torchvision imports torch, which the parquet way does not need.
    from torchvision.datasets import CIFAR100

    def open_split(split: Split) -> Any:
        try:
            # Pickled files: torchvision checks their MD5 sums before it opens them.
            return CIFAR100(str(folder), train=split == "train", download=False)
        except RuntimeError as error:
            raise UserError(
                str(folder), f"was refused by torchvision ({error}).", _FOLDER_HELP
            ) from error

    def read(split: Split) -> list[_Photo]:
        data = open_split(split)
        rows = zip(data.data, data.targets, strict=True)
        return [
            _Photo(split=split, index=index, png=_png(image), fine=fine, coarse=None)
            for index, (image, fine) in enumerate(rows)
        ]

    return _Source(
        identity={"torchvision": CIFAR100.tgz_md5},
        fine=tuple(_spaced(open_split("eval").classes)),
        coarse=None,
        read=read,
    )


def _spaced(names: Sequence[str]) -> list[str]:
    return [name.replace("_", " ") for name in names]


def _png(image: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()
