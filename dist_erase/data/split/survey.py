"""First pass over the pool: each sample's image number, captions, and the rules that it matches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dist_erase.data.captions import CaptionPlan
from dist_erase.data.sample import image_member, image_number
from dist_erase.data.split.pool import Pool, PoolShard, usable
from dist_erase.data.split.rules import FORGET, Matcher, read_captions
from dist_erase.data.workers import ordered_map
from dist_erase.errors import BadSampleError
from dist_erase.storage import atomic_path

Progress = Callable[[str, int, int], None]
"""Called with (what is done, done, planned)."""
SURVEY_VERSION = 2  # of the results on disk
_CAPTION_LENGTH = 300  # of the captions kept for the sheet and the lists


@dataclass(frozen=True, kw_only=True)
class SurveyRules:
    """What a worker needs beside its shard.

    Attributes:
        captions: where captions stand.
        matchers: one for each bit.
        sha256: hex digests of images that are to be forgotten.
    """

    captions: CaptionPlan
    matchers: dict[int, Matcher]
    sha256: frozenset[str]


@dataclass(frozen=True, eq=False, kw_only=True)
class Survey:
    """The pool's samples; arrays have one entry a sample, in order of position.

    Attributes:
        image_ids: int64, `data.sample.image_number`; 0 where dropped.
        bits: uint8, FORGET | ASSOCIATION | IDENTITY.
        dropped: position → (reason, detail) of unusable samples.
        faults: number of a damaged shard → what is wrong with it.
        found_sha256: those of the rules that some image has.
        folder: where the captions lie.
    """

    image_ids: NDArray[np.int64]
    bits: NDArray[np.uint8]
    dropped: dict[int, tuple[str, str]]
    faults: dict[int, str]
    found_sha256: frozenset[str]
    folder: Path
    firsts: NDArray[np.int64]

    def caption(self, position: int) -> str:
        """The captions of a sample, cut after 300 characters, on one line."""
        number = int(np.searchsorted(self.firsts, position, side="right")) - 1
        return self._captions(number)[position - int(self.firsts[number])]

    def _captions(self, number: int) -> list[str]:
        if number not in self._kept:
            self._kept.clear()  # the callers go through the pool in order
            with np.load(_file(self.folder, number), allow_pickle=False) as arrays:
                self._kept[number] = list(_unpack(arrays["captions"]))
        return self._kept[number]

    @cached_property
    def _kept(self) -> dict[int, list[str]]:
        return {}


@dataclass(frozen=True)
class _Task:
    shard: PoolShard
    rules: SurveyRules
    forget_rows: frozenset[int]
    out: Path


def survey_pool(
    pool: Pool,
    rules: SurveyRules,
    forget_positions: frozenset[int],
    *,
    folder: Path,
    workers: int,
    progress: Progress,
) -> Survey:
    """Reads every sample once; shards whose result lies in `folder` are not read again.

    Raises:
        OSError: a read failed.
        UserError: a shard changed.
    """
    done = 0
    for shard_no in ordered_map(
        _survey_shard, _tasks(pool, rules, forget_positions, folder), workers=workers
    ):
        done += len(pool.shards[shard_no])
        progress("reading the pool", done, len(pool))
    ids, bits, dropped, faults, found = [], [], {}, {}, set()
    for shard in pool.shards:
        with np.load(_file(folder, shard.number), allow_pickle=False) as arrays:
            ids.append(arrays["image_ids"])
            bits.append(arrays["bits"])
            first = int(pool.firsts[shard.number])
            for row, reason, detail in _unpack(arrays["dropped"]):
                dropped[first + row] = (reason, detail)
            if fault := _unpack(arrays["fault"]):
                faults[shard.number] = fault
            found.update(_unpack(arrays["found"]))
    return Survey(
        image_ids=np.concatenate(ids),
        bits=np.concatenate(bits),
        dropped=dropped,
        faults=faults,
        found_sha256=frozenset(found),
        folder=folder,
        firsts=pool.firsts,
    )


def _tasks(
    pool: Pool, rules: SurveyRules, forget_positions: frozenset[int], folder: Path
) -> Iterator[_Task]:
    given = np.array(sorted(forget_positions), np.int64)
    for shard in pool.shards:
        first, stop = pool.firsts[shard.number], pool.firsts[shard.number + 1]
        rows = given[(given >= first) & (given < stop)] - first
        yield _Task(shard, rules, frozenset(rows.tolist()), _file(folder, shard.number))


def _survey_shard(task: _Task) -> int:
    if task.out.exists():
        return task.shard.number
    ids = np.zeros(len(task.shard), np.int64)
    bits = np.zeros(len(task.shard), np.uint8)
    captions: list[str] = []
    dropped: list[tuple[int, str, str]] = []
    found: list[str] = []
    for row, raw in enumerate(task.shard.read()):
        captions.append("")
        try:
            sample = usable(raw)
            encoded = image_member(sample)
            texts, label = read_captions(sample, task.rules.captions)
        except BadSampleError as error:
            dropped.append((row, error.reason, error.detail))
            continue
        ids[row] = image_number(encoded)
        bits[row] = sum(
            bit for bit, rule in task.rules.matchers.items() if rule.matches(label, texts)
        )
        captions[row] = " | ".join(" ".join(text.split()) for text in texts)[:_CAPTION_LENGTH]
        digest = hashlib.sha256(encoded).hexdigest() if task.rules.sha256 else ""
        if digest in task.rules.sha256:
            found.append(digest)
            bits[row] |= FORGET
        if row in task.forget_rows:
            bits[row] |= FORGET
    with atomic_path(task.out) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            image_ids=ids,
            bits=bits,
            captions=_pack(captions),
            dropped=_pack(dropped),
            fault=_pack(task.shard.fault()),
            found=_pack(found),
        )
    return task.shard.number


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.npz"


def _pack(value: object) -> NDArray[np.uint8]:
    """Text as an array: np.load would unpickle an array of objects."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def _unpack(packed: NDArray[np.uint8]) -> Any:  # JSON
    return json.loads(packed.tobytes())
