"""First pass of a build: every image is looked at and hashed, in several processes.

A pair is left out or kept by its image's hash, so what the shards hold is known before one is
written, and they can be written side by side.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from dist_erase.data.build.recipe import Item, Plan, Progress, Recipe, SetName, Split
from dist_erase.data.workers import ordered_map
from dist_erase.storage import write_text

_CHUNK = 512  # images a task: what a killed process has to read again


@dataclass(frozen=True, eq=False)
class _Task(Generic[Item]):
    """Some items of one set, and the file that keeps their hashes."""

    recipe: Recipe[Item]
    which: tuple[Split, SetName]
    items: Sequence[Item]
    record: Path


def hash_images(
    plan: Plan[Item],
    recipe: Recipe[Item],
    *,
    order: Sequence[tuple[Split, SetName]],
    folder: Path,
    workers: int,
    progress: Progress,
) -> dict[tuple[Split, SetName], list[bytes]]:
    """SHA-256 of each item's image; files that an earlier call has read are not read again.

    Raises:
        UserError: the first image of `order` that cannot be used.
    """
    total, done = sum(map(len, plan.values())), 0
    hashes: dict[tuple[Split, SetName], list[bytes]] = {which: [] for which in order}
    tasks = _tasks(plan, recipe, order, folder)
    for which, some in ordered_map(_hash, tasks, workers=workers, preload=type(recipe).__module__):
        hashes[which] += map(bytes.fromhex, some)
        done += len(some)
        progress("reading images", done, total)
    return hashes


def _tasks(
    plan: Plan[Item], recipe: Recipe[Item], order: Sequence[tuple[Split, SetName]], folder: Path
) -> Iterator[_Task[Item]]:
    for which in order:
        items = plan[which]
        for start in range(0, len(items), _CHUNK):
            record = folder.joinpath(*which, f"{start // _CHUNK:06d}.json")
            yield _Task(recipe, which, items[start : start + _CHUNK], record)


def _hash(task: _Task[Item]) -> tuple[tuple[Split, SetName], list[str]]:
    known = _known(task)
    if known is not None:
        return task.which, known
    stamps, hashes = [], []
    for item in task.items:
        stamps.append(task.recipe.stamp(item))  # first: a file that changes now is read again
        hashes.append(hashlib.sha256(task.recipe.image(item)).hexdigest())
    if None not in stamps:
        write_text(task.record, json.dumps({"stamps": stamps, "hashes": hashes}))
    return task.which, hashes


def _known(task: _Task[Item]) -> list[str] | None:
    """The hashes of an earlier call, if no file has changed since."""
    try:
        record = json.loads(task.record.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if record["stamps"] != [task.recipe.stamp(item) for item in task.items]:
        return None
    hashes: list[str] = record["hashes"]
    return hashes
