"""Writes image-text pairs as webdataset shards: forget and retain, train and eval, all or nothing.

A data set is a folder with `train/` and `eval/` (each with `forget-NNNNNN.tar` and
`retain-NNNNNN.tar`), `classes.json` and `dataset.json`. It is built beside its place and renamed
into it, so that a half-written one is never seen. Equal input gives equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import webdataset

from dist_erase.errors import UserError
from dist_erase.storage import sha256_of_file, write_json

Split = Literal["train", "eval"]
SetName = Literal["forget", "retain"]
Progress = Callable[[int, int], None]
"""Called with (pairs written, pairs planned)."""

FORMAT_VERSION = 1
_OWN_NAMES = {"train", "eval", "classes.json", "dataset.json"}
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


@dataclass(frozen=True, kw_only=True)
class BuildSummary:
    """What a data set holds; all but the first two fields stand in `dataset.json`.

    Attributes:
        out: the data set's folder.
        up_to_date: nothing was written, since the same was there.
        builder: digits, cifar100 or folder.
        options: everything that decides the content.
        samples: pairs by set, `train/forget` and so on.
        shards: size in bytes and SHA-256 of each shard by its path in the folder.
        dropped_from_retain: pairs left out because their image is in a forget set.
        train_images_in_eval: eval pairs whose image is also in train (kept).
    """

    out: Path
    up_to_date: bool
    builder: str
    options: dict[str, Any]
    samples: dict[str, int]
    shards: dict[str, dict[str, int | str]]
    dropped_from_retain: int
    train_images_in_eval: int


def find_finished(
    out: Path, *, builder: str, options: Mapping[str, Any], overwrite: bool
) -> BuildSummary | None:
    """Returns the data set at `out` if it was built with these options; None if it must be built.

    Raises:
        UserError: `out` holds something else and `overwrite` is off, or holds files that are not
            ours and would be lost.
    """
    if out.is_file():
        raise UserError(str(out), "is a file.", "Name a folder.")
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if not names:
        return None
    foreign = sorted(names - _OWN_NAMES)
    if foreign or "dataset.json" not in names:
        raise UserError(
            str(out),
            f"is not empty and not a data set of ours (it holds {sorted(names)[0]}).",
            "Name another folder.",
        )
    if overwrite:
        return None
    try:
        record = json.loads((out / "dataset.json").read_text(encoding="utf-8"))
        summary = BuildSummary(
            out=out, up_to_date=True, **{k: v for k, v in record.items() if k != "format_version"}
        )
    except (ValueError, TypeError) as error:
        raise UserError(
            str(out / "dataset.json"), f"cannot be read ({error}).", "Rebuild with --overwrite."
        ) from error
    # Through JSON once, so that tuples and lists compare equal.
    wanted = json.loads(json.dumps({"builder": builder, **options}))
    found = {"builder": summary.builder, **summary.options}
    different = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
    if record["format_version"] != FORMAT_VERSION:
        different.append("format_version")
    if different:
        key = different[0]
        raise UserError(
            str(out),
            f"holds a data set built with other options ({', '.join(different)}: "
            f"{found.get(key)!r} there, {wanted.get(key)!r} now).",
            "Replace it with --overwrite, or name another folder.",
        )
    for name, shard in summary.shards.items():
        if not (out / name).is_file() or (out / name).stat().st_size != shard["bytes"]:
            raise UserError(
                str(out / name),
                "is missing or has another size than when it was built.",
                "Rebuild with --overwrite.",
            )
    return summary


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
    with _staged(out) as stage:
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
        record = asdict(summary)
        del record["out"], record["up_to_date"]
        write_json(stage / "dataset.json", {"format_version": FORMAT_VERSION, **record})
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


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """Yields an empty folder beside `out` that takes its place when the block succeeds."""
    out.parent.mkdir(parents=True, exist_ok=True)
    tag = uuid.uuid4().hex[:8]
    stage = out.with_name(f".{out.name}.{tag}.tmp")
    stage.mkdir()
    try:
        yield stage
        if out.exists():
            old = out.with_name(f".{out.name}.{tag}.old.tmp")
            os.replace(out, old)
            os.replace(stage, out)
            shutil.rmtree(old)
        else:
            os.replace(stage, out)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
