"""Writes image-text pairs as webdataset shards: forget and retain, train and eval.

A data set is a folder with `train/` and `eval/` (each with `forget-NNNNNN.tar` and
`retain-NNNNNN.tar`), `classes.json` and `dataset.json`. Equal input gives equal bytes, whatever
the number of processes and however often the build was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dist_erase.data.build.dataset import BuildSummary, write_record
from dist_erase.data.build.hashing import hash_images
from dist_erase.data.build.recipe import Item, Plan, Progress, Recipe, SetName, Split
from dist_erase.data.build.shard import ShardTask, write_shard
from dist_erase.data.stage import open_stage
from dist_erase.data.workers import ordered_map
from dist_erase.errors import UserError
from dist_erase.storage import write_json

# Forget sets first: a retain pair is dropped when its image is in one of them.
_ORDER: tuple[tuple[Split, SetName], ...] = (
    ("train", "forget"),
    ("eval", "forget"),
    ("train", "retain"),
    ("eval", "retain"),
)


def silent(what: str, done: int, planned: int) -> None:
    """Progress that nobody sees."""


def write_dataset(
    out: Path,
    plan: Plan[Item],
    recipe: Recipe[Item],
    *,
    builder: str,
    options: Mapping[str, Any],
    classes: Sequence[str],
    shard_size: int,
    workers: int = 0,
    progress: Progress = silent,
) -> BuildSummary:
    """Writes the four sets of `plan` under `out`, replacing what is there.

    Interrupted, it goes on from the hidden folder beside `out` when it is called again.

    Args:
        out: folder; call `find_built` first, it protects other people's files.
        plan: items by (split, set); all four are needed and none may be empty.
        recipe: makes the pairs.
        builder: digits, cifar100 or folder.
        options: everything that decides the content; compared by `find_built`.
        classes: class names in the order of the labels; empty if the pairs have none.
        shard_size: most samples in a shard. A set of several samples gets two shards at least.
        workers: processes that read and write; 0 = none.
        progress: called as the work goes on.

    Raises:
        OSError: a read or write failed.
        UserError: a set is empty, an image cannot be used, or another process builds here.
    """
    for split, name in _ORDER:
        if not plan[split, name]:
            raise UserError(
                str(out),
                f"the {split}/{name} set would be empty.",
                "Forget fewer pairs, or mark some as forget and some as retain in both splits.",
            )
    with open_stage(out, "build") as stage:
        folder = stage.part("sets", [builder, options, classes])
        hashes = hash_images(
            plan,
            recipe,
            order=_ORDER,
            folder=folder / "hashes",
            workers=workers,
            progress=progress,
        )
        choice = _choose(hashes)
        tasks = list(_tasks(plan, recipe, hashes, choice.kept, folder, shard_size))
        shards = _write(tasks, folder, workers, progress)
        write_json(folder / "data" / "classes.json", list(classes))
        summary = BuildSummary(
            out=out,
            up_to_date=False,
            builder=builder,
            options=dict(options),
            samples={"/".join(which): len(choice.kept[which]) for which in _ORDER},
            shards=shards,
            dropped_from_retain=choice.dropped,
            train_images_in_eval=choice.leaked,
        )
        write_record(folder / "data", summary)
        stage.finish(folder / "data", out)
    return summary


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """Which items are written, by their places in the plan; how many are not, and why."""

    kept: dict[tuple[Split, SetName], list[int]]
    dropped: int
    leaked: int


def _choose(hashes: Mapping[tuple[Split, SetName], Sequence[bytes]]) -> _Choice:
    """A retain pair with a forgotten image is dropped."""
    forgotten = {*hashes["train", "forget"], *hashes["eval", "forget"]}
    kept = {
        (split, name): [
            place
            for place, image in enumerate(hashes[split, name])
            if name == "forget" or image not in forgotten
        ]
        for split, name in _ORDER
    }
    for (split, name), places in kept.items():
        if not places:
            raise UserError(
                f"{split}/{name}",
                "is empty: all its images are in a forget set.",
                "Give retain pairs images of their own.",
            )
    # A retain image of train is no forget image, so the order of the sets does not matter here.
    train = {
        hashes[which][place] for which in _ORDER if which[0] == "train" for place in kept[which]
    }
    leaked = sum(
        hashes[which][place] in train
        for which in _ORDER
        if which[0] == "eval"
        for place in kept[which]
    )
    dropped = sum(len(hashes[which]) - len(kept[which]) for which in _ORDER)
    return _Choice(kept=kept, dropped=dropped, leaked=leaked)


def _tasks(
    plan: Plan[Item],
    recipe: Recipe[Item],
    hashes: Mapping[tuple[Split, SetName], Sequence[bytes]],
    kept: Mapping[tuple[Split, SetName], Sequence[int]],
    folder: Path,
    shard_size: int,
) -> Iterator[ShardTask[Item]]:
    for split, name in _ORDER:
        items, images, places = plan[split, name], hashes[split, name], kept[split, name]
        size = min(shard_size, max(1, -(-len(items) // 2)))
        for start in range(0, len(places), size):
            some = places[start : start + size]
            yield ShardTask(
                recipe=recipe,
                root=folder / "data",
                records=folder / "records",
                name=f"{split}/{name}-{start // size:06d}.tar",
                items=[items[place] for place in some],
                hashes=[images[place] for place in some],
            )


def _write(
    tasks: Sequence[ShardTask[Item]], folder: Path, workers: int, progress: Progress
) -> dict[str, dict[str, int | str]]:
    """Writes all shards; what else lies there is of a killed process or of other images."""
    wanted = {folder / "data" / task.name for task in tasks}
    for path in (folder / "data").rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()
    total, done = sum(len(task.items) for task in tasks), 0
    shards: dict[str, dict[str, int | str]] = {}
    preload = type(tasks[0].recipe).__module__
    records = ordered_map(write_shard, tasks, workers=workers, preload=preload)
    for task, record in zip(tasks, records, strict=True):
        shards[task.name] = record
        done += len(task.items)
        progress("writing shards", done, total)
    return shards
