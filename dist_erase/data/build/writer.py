"""Writes image-text pairs as webdataset shards: forget and retain, train and eval.

A data set is a folder with `train/` and `eval/` (each with `forget-NNNNNN.tar` and
`retain-NNNNNN.tar`), `classes.json` and `dataset.json`. Equal input gives equal bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import webdataset

from dist_erase.data.build.dataset import BuildSummary, staged, write_record
from dist_erase.errors import UserError
from dist_erase.storage import sha256_of_file, write_json

Split = Literal["train", "eval"]
SetName = Literal["forget", "retain"]
Progress = Callable[[int, int], None]
"""Called with (pairs written, pairs planned)."""

# Forget sets first: a retain pair is dropped when its image is in one of them.
_ORDER: tuple[tuple[Split, SetName], ...] = (
    ("train", "forget"),
    ("eval", "forget"),
    ("train", "retain"),
    ("eval", "retain"),
)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One image-text pair before it is written.

    Attributes:
        key: unique in the data set, without dots (webdataset splits at the first one).
        image: the encoded image, kept as it is.
        extension: of the image's member, for instance `jpg`.
        caption: not empty.
        label: class number (the .cls member), or None.
        facts: further fields of the .json member.
    """

    key: str
    image: bytes
    extension: str
    caption: str
    label: int | None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PlannedSet:
    """The pairs of one set, read while they are written."""

    count: int
    pairs: Iterable[Pair]


Plan = Mapping[tuple[Split, SetName], PlannedSet]


def write_dataset(
    out: Path,
    plan: Plan,
    *,
    builder: str,
    options: Mapping[str, Any],
    classes: Sequence[str],
    shard_size: int,
    progress: Progress | None = None,
) -> BuildSummary:
    """Writes the four sets of `plan` under `out`, replacing what is there.

    Args:
        out: folder; call `find_finished` first, it protects other people's files.
        plan: pairs by (split, set); all four are needed and none may be empty.
        builder: digits, cifar100 or folder.
        options: everything that decides the content; compared by `find_finished`.
        classes: class names in the order of the labels; empty if the pairs have none.
        shard_size: most samples in a shard. A set of several samples gets two shards at least.
        progress: called after each pair.
    """
    for split, name in _ORDER:
        if not plan[split, name].count:
            raise UserError(
                str(out),
                f"the {split}/{name} set would be empty.",
                "Forget fewer pairs, or mark some as forget and some as retain in both splits.",
            )
    with staged(out) as stage:
        sets = _SetsWriter(stage, sum(s.count for s in plan.values()), progress)
        for split, name in _ORDER:
            sets.write(split, name, plan[split, name], shard_size)
        write_json(stage / "classes.json", list(classes))
        summary = BuildSummary(
            out=out,
            up_to_date=False,
            builder=builder,
            options=dict(options),
            samples=sets.samples,
            shards=sets.shards,
            dropped_from_retain=sets.dropped,
            train_images_in_eval=sets.leaked,
        )
        write_record(stage, summary)
    return summary


class _SetsWriter:
    """Writes one set after the other and remembers whose images were written where."""

    def __init__(self, root: Path, planned: int, progress: Progress | None) -> None:
        self.root = root
        self.samples: dict[str, int] = {}
        self.shards: dict[str, dict[str, int | str]] = {}
        self.dropped = 0
        self.leaked = 0
        self._forget_images: set[str] = set()
        self._train_images: set[str] = set()
        self._planned = planned
        self._progress = progress
        self._seen = 0

    def write(self, split: Split, name: SetName, planned: PlannedSet, shard_size: int) -> None:
        """Writes a set's shards; a retain pair with a forgotten image is dropped."""
        size = min(shard_size, max(1, -(-planned.count // 2)))
        kept = self._without_forgotten(split, name, planned.pairs)
        written = 0
        for number, pairs in enumerate(_chunks(kept, size)):
            path = self.root / split / f"{name}-{number:06d}.tar"
            path.parent.mkdir(exist_ok=True)
            _write_shard(path, pairs)
            self.shards[f"{split}/{path.name}"] = {
                "samples": len(pairs),
                "bytes": path.stat().st_size,
                "sha256": sha256_of_file(path),
            }
            written += len(pairs)
        if not written:
            raise UserError(
                f"{split}/{name}",
                "is empty: all its images are in a forget set.",
                "Give retain pairs images of their own.",
            )
        self.samples[f"{split}/{name}"] = written

    def _without_forgotten(
        self, split: Split, name: SetName, pairs: Iterable[Pair]
    ) -> Iterator[tuple[Pair, str]]:
        for pair in pairs:
            digest = hashlib.sha256(pair.image).hexdigest()
            self._seen += 1
            if self._progress:
                self._progress(self._seen, self._planned)
            if name == "forget":
                self._forget_images.add(digest)
            elif digest in self._forget_images:
                self.dropped += 1
                continue
            if split == "train":
                self._train_images.add(digest)
            elif digest in self._train_images:
                self.leaked += 1
            yield pair, digest


def _chunks(pairs: Iterator[tuple[Pair, str]], size: int) -> Iterator[list[tuple[Pair, str]]]:
    chunk: list[tuple[Pair, str]] = []
    for pair in pairs:
        chunk.append(pair)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _write_shard(path: Path, pairs: list[tuple[Pair, str]]) -> None:
    with path.open("wb") as stream, webdataset.TarWriter(stream, encoder=False, mtime=0) as tar:
        for pair, digest in pairs:
            facts = {"caption": pair.caption, "label": pair.label, "sha256": digest, **pair.facts}
            members = {
                "__key__": pair.key,
                pair.extension: pair.image,
                "txt": pair.caption.encode(),
                "json": json.dumps(facts, ensure_ascii=False).encode(),
            }
            if pair.label is not None:
                members["cls"] = str(pair.label).encode()
            tar.write(members)
