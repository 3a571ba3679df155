"""Writes one shard, whole or not at all; a shard that an earlier call finished is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import webdataset

from dist_erase.data.build.recipe import Item, Pair, Recipe
from dist_erase.errors import UserError
from dist_erase.storage import atomic_path, sha256_of_file, write_json


@dataclass(frozen=True, eq=False, kw_only=True)
class ShardTask(Generic[Item]):
    """One shard to be written.

    Attributes:
        recipe: makes pairs from items.
        root: the data set's folder.
        records: folder of the records that say which shards are whole.
        name: path in the data set.
        items: its pairs.
        hashes: SHA-256 of each pair's image.
    """

    recipe: Recipe[Item]
    root: Path
    records: Path
    name: str
    items: Sequence[Item]
    hashes: Sequence[bytes]


def write_shard(task: ShardTask[Item]) -> dict[str, int | str]:
    """Writes a shard and then its record; returns its samples, bytes and SHA-256.

    Raises:
        OSError: a read or write failed.
        UserError: an image is another one than when it was hashed.
    """
    path, record = task.root / task.name, task.records / f"{task.name}.json"
    # The options are those of the whole folder, but images may have been mended since.
    images = hashlib.sha256(b"".join(task.hashes)).hexdigest()
    facts = _kept(path, record, images)
    if facts is None:
        _write(path, task)
        facts = {
            "samples": len(task.items),
            "bytes": path.stat().st_size,
            "sha256": sha256_of_file(path),
        }
        write_json(record, {"images": images, "shard": facts})
    return facts


def _kept(path: Path, record: Path, images: str) -> dict[str, int | str] | None:
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
        size = path.stat().st_size
    except (FileNotFoundError, ValueError):
        return None
    facts: dict[str, int | str] = known["shard"]
    return facts if (known["images"], facts["bytes"]) == (images, size) else None


def _write(path: Path, task: ShardTask[Item]) -> None:
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as stream,
        webdataset.TarWriter(stream, encoder=False, mtime=0) as tar,
    ):
        for item, expected in zip(task.items, task.hashes, strict=True):
            pair = task.recipe.pair(item)
            if hashlib.sha256(pair.image).digest() != expected:
                raise UserError(
                    str(pair.facts.get("file", pair.key)),
                    "is another image than a moment ago.",
                    "Leave the images alone while they are packed, and run the same command again.",
                )
            tar.write(_members(pair, expected.hex()))


def _members(pair: Pair, sha256: str) -> dict[str, str | bytes]:
    facts = {"caption": pair.caption, "label": pair.label, "sha256": sha256, **pair.facts}
    members: dict[str, str | bytes] = {
        "__key__": pair.key,
        pair.extension: pair.image,
        "txt": pair.caption.encode(),
        "json": json.dumps(facts, ensure_ascii=False).encode(),
    }
    if pair.label is not None:
        members["cls"] = str(pair.label).encode()
    return members
