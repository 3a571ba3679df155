"""Writes the sets' shards, each whole or not at all; what an earlier attempt finished is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import webdataset
from numpy.typing import NDArray

from dist_erase.data.sample import image_member, image_number
from dist_erase.data.split.plan import PLACES, Plan
from dist_erase.data.split.pool import Pool, PoolShard
from dist_erase.data.split.survey import Progress
from dist_erase.data.split.units import Units
from dist_erase.data.workers import ordered_map
from dist_erase.errors import BadSampleError, UserError
from dist_erase.storage import atomic_path, sha256_of_file, write_json


@dataclass(frozen=True, eq=False)
class _Task:
    """One shard to be written.

    Attributes:
        name: path in the data set.
        shards: the pool's, each with the samples wanted only.
        rows: the samples' rows in their whole pool shards.
        image_ids: int64, of each sample.
    """

    root: Path
    records: Path
    name: str
    shards: tuple[PoolShard, ...]
    rows: tuple[NDArray[np.int64], ...]
    image_ids: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written.

    Attributes:
        samples: by set.
        shards: samples, bytes and SHA-256 of each shard by its path in the data set.
        images: distinct images, each hashed while it was written, none of them in two sets.
    """

    samples: dict[str, int]
    shards: dict[str, dict[str, int | str]]
    images: int


def write_sets(
    pool: Pool,
    units: Units,
    plan: Plan,
    *,
    folder: Path,
    shard_size: int,
    workers: int,
    progress: Progress,
) -> Written:
    """Writes `folder/data/train/forget-000000.tar` and so on, in the pool's order.

    A sample keeps its members; its key becomes SHARD-ROW, both numbers in the pool, since keys
    of several shards may be equal.

    Raises:
        OSError: a read or write failed.
        UserError: an image is another one than it was in the survey.
    """
    for unfinished in folder.rglob(".*.tmp"):  # of a process that was killed
        unfinished.unlink()
    tasks = list(_tasks(pool, units, plan, folder, shard_size))
    total, done = sum(len(task.image_ids) for task in tasks), 0
    shards: dict[str, dict[str, int | str]] = {}
    samples: dict[str, int] = {}
    for task, record in zip(tasks, ordered_map(_write, tasks, workers=workers), strict=True):
        shards[task.name] = record
        place = task.name.rpartition("-")[0]
        samples[place] = samples.get(place, 0) + len(task.image_ids)
        done += len(task.image_ids)
        progress("writing shards", done, total)
    return Written(samples=samples, shards=shards, images=_prove_disjoint(tasks))


def _tasks(pool: Pool, units: Units, plan: Plan, folder: Path, shard_size: int) -> Iterator[_Task]:
    used = units.of_sample >= 0
    places = np.where(used, plan.places[units.of_sample], -1)
    for number, place in enumerate(PLACES):
        positions = np.flatnonzero(places == number)
        size = min(shard_size, max(1, -(-len(positions) // 2)))  # two shards where possible
        for start in range(0, len(positions), size):
            some = positions[start : start + size]
            shards = tuple(pool.pick(some))
            yield _Task(
                root=folder / "data",
                records=folder / "records",
                name=f"{place}-{start // size:06d}.tar",
                shards=shards,
                rows=tuple(_rows(pool, some, shard.number) for shard in shards),
                image_ids=units.image_ids[units.of_sample[some]],
            )


def _rows(pool: Pool, positions: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    first, stop = pool.firsts[number], pool.firsts[number + 1]
    rows: NDArray[np.int64] = positions[(positions >= first) & (positions < stop)] - first
    return rows


def _write(task: _Task) -> dict[str, int | str]:
    """Writes a shard and then its record, which says that the shard is whole."""
    path = task.root / task.name
    record = task.records / f"{task.name}.json"
    if record.exists() and path.exists():
        known: dict[str, int | str] = json.loads(record.read_text())
        if path.stat().st_size == known["bytes"]:
            return known
    expected = iter(task.image_ids.tolist())
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as stream,
        webdataset.TarWriter(stream, encoder=False, mtime=0) as tar,
    ):
        for shard, rows in zip(task.shards, task.rows, strict=True):
            for row, raw in zip(rows.tolist(), shard.read(), strict=True):
                wanted = next(expected)
                if isinstance(raw, BadSampleError) or image_number(image_member(raw)) != wanted:
                    raise UserError(
                        shard.path,
                        f"sample {row} has another image than a moment ago.",
                        "Leave the pool alone while it is split; start again with --overwrite.",
                    )
                tar.write(_members(raw, f"{shard.number:05d}-{row:07d}"))
    facts: dict[str, int | str] = {
        "samples": len(task.image_ids),
        "bytes": path.stat().st_size,
        "sha256": sha256_of_file(path),
    }
    write_json(record, facts)
    return facts


def _members(raw: dict[str, Any], key: str) -> dict[str, Any]:
    members = {suffix: data for suffix, data in raw.items() if not suffix.startswith("__")}
    return {"__key__": key, **members}


def _prove_disjoint(tasks: list[_Task]) -> int:
    """Compares the sets' hashes, which every image was held to while it was written."""
    of_set: dict[str, list[NDArray[np.int64]]] = {}
    for task in tasks:
        of_set.setdefault(task.name.rpartition("-")[0], []).append(task.image_ids)
    images = np.concatenate([np.unique(np.concatenate(parts)) for parts in of_set.values()])
    if len(np.unique(images)) < len(images):
        raise RuntimeError("two sets share an image")
    return len(images)
