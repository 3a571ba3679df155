"""A set's samples by position; where they lie is found when a shard is opened.

The order needs no more than the number of samples in each shard. A shard's byte ranges are
scanned when it is first opened, and kept.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dist_erase.config.secrets import public
from dist_erase.data.scan_tar import TRUNCATED, ScannedShard
from dist_erase.data.scanned import scan_kept
from dist_erase.data.source import ShardSource, SourceSettings, is_remote, make_source
from dist_erase.data.summaries import ShardSummary
from dist_erase.errors import UserError
from dist_erase.storage import boot_id

_OPEN_SHARDS = 256  # byte ranges kept at hand by each process; 10,000 samples are half a megabyte


@dataclass(frozen=True, eq=False, kw_only=True)
class ShardIndex:
    """The chosen samples of one shard, in file order; all arrays have one entry a sample.

    Attributes:
        path: of the tar file.
        version: of its content when it was opened, as `ShardStat` has it.
        keys: bytes, UTF-8; a label only (img2dataset's keys start at 0 in every set).
        starts, ends: int64, the byte range of the sample's members, headers included.
        image_starts, image_sizes: int64, the byte range of the image's content; size -1 where
            there is none.
        faults: int8, see `scan_tar`.
        numbers: int64, the sample's number in the whole shard.
    """

    path: str
    version: str
    keys: NDArray[np.bytes_]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    image_starts: NDArray[np.int64]
    image_sizes: NDArray[np.int64]
    faults: NDArray[np.int8]
    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(frozen=True, eq=False, kw_only=True)
class ShardRef:
    """One shard of a set, not opened.

    Attributes:
        rows: numbers of the chosen samples in the shard, int64; None = all.
    """

    summary: ShardSummary
    rows: NDArray[np.int64] | None = None

    @property
    def path(self) -> str:
        """Of the tar file."""
        return self.summary.path

    def __len__(self) -> int:
        return self.summary.count if self.rows is None else len(self.rows)


def same_content(one: str, other: str) -> bool:
    """Whether two fingerprints are of one set, or of one model.

    How a set's shards were counted, by side files or by headers, may have changed meanwhile: where
    one of them does not know the contents, sizes and counts decide.
    """
    (sizes, _, contents), (others, _, theirs) = one.partition(":"), other.partition(":")
    return sizes == others and (contents == theirs or not contents or not theirs)


@dataclass(frozen=True, eq=False, kw_only=True)
class SetIndex:
    """All samples of a set; a sample's position is its ordinal over the shards.

    Travels to data workers; each opens the shards that it needs.

    Attributes:
        settings: how shards are read.
        cache_dir: where header scans are kept; None = nowhere.
        tolerant: faults of single samples are left to be met when they are read.
        faults: what is wrong with whole shards, in words (only if tolerant).
        mix: see `order.Order`.
        unwritten: refuse a local shard that was written since it was counted on this machine, even
            with as many bytes; a replay reads on and compares.
    """

    shards: tuple[ShardRef, ...]
    mix: tuple[tuple[int, float], ...] = ()
    settings: SourceSettings = field(default_factory=SourceSettings)
    cache_dir: Path | None = None
    tolerant: bool = False
    faults: tuple[str, ...] = ()
    unwritten: bool = False

    def __len__(self) -> int:
        return int(self._firsts[-1])

    @property
    def counts(self) -> tuple[int, ...]:
        """Samples per shard."""
        return tuple(len(shard) for shard in self.shards)

    @property
    def bytes(self) -> int:
        """Bytes of the shards, in proportion to the samples chosen of each."""
        return sum(
            shard.summary.size * len(shard) // max(1, shard.summary.count) for shard in self.shards
        )

    @cached_property
    def fingerprint(self) -> str:
        """What tells sets apart, without their paths; to be compared by `same_content`.

        Hex BLAKE2b of each shard's size, count and chosen samples; then, if all headers were read,
        a colon and that of the keys and the places and sizes of all images.
        """
        sizes, contents = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
        for shard in self.shards:
            sizes.update(f"{(shard.summary.size, shard.summary.count)}\n".encode())
            if shard.rows is not None:
                sizes.update(shard.rows.tobytes())
            contents.update(f"{shard.summary.content}\n".encode())
        known = all(shard.summary.content for shard in self.shards)
        return f"{sizes.hexdigest()}:{contents.hexdigest()}" if known else sizes.hexdigest()

    def locate(self, position: int) -> tuple[int, int]:
        """Position → (shard number, row in that `ShardIndex`)."""
        shard_no = int(np.searchsorted(self._firsts, position, side="right")) - 1
        return shard_no, int(position - self._firsts[shard_no])

    def label(self, position: int) -> tuple[str, int, str]:
        """Position → (shard path, number in the shard, key), as people name a sample."""
        shard_no, row = self.locate(position)
        shard = self.open(shard_no)
        return (
            public(shard.path),
            int(shard.numbers[row]),
            bytes(shard.keys[row]).decode(errors="replace"),
        )

    def open(self, shard_no: int) -> ShardIndex:
        """The byte ranges of a shard's samples.

        Raises:
            OSError: a read failed.
            UserError: the shard is not what was counted, or has a fault and the set is not
                tolerant.
        """
        opened = self._opened
        with self._lock:
            found = opened.get(shard_no)
        if found is None:
            found = self._open(self.shards[shard_no])
            with self._lock:  # reads ahead open shards from other threads
                opened[shard_no] = found
                while len(opened) > _OPEN_SHARDS:
                    del opened[next(iter(opened))]  # the oldest
        return found

    def only(self, shard_no: int, rows: NDArray[np.int64] | None = None) -> SetIndex:
        """A set of one of the shards, or of some rows of it."""
        ref = self.shards[shard_no]
        if rows is not None:
            ref = replace(ref, rows=rows if ref.rows is None else ref.rows[rows])
        return replace(self, shards=(ref,), mix=(), faults=())

    def _open(self, ref: ShardRef) -> ShardIndex:
        stat = self.source.stat(ref.path)
        # Copies of a local shard on other nodes have another time of change; etags are the same.
        comparable = is_remote(ref.path) or (self.unwritten and ref.summary.machine == boot_id())
        if stat.size != ref.summary.size or (comparable and stat != ref.summary.stat):
            raise UserError(
                public(ref.path),
                f"the shard has changed since it was indexed ({ref.summary.size} bytes, version "
                f"{ref.summary.version} then; {stat.size} bytes, {stat.version} now).",
                "Leave shards alone while a run reads them; start again to index the new file.",
            )
        scanned = scan_kept(ref.path, self.source, ref.summary.stat, self.cache_dir)
        if not self.tolerant:
            scanned.check(ref.path)
        scanned = _as_counted(scanned, ref.summary)
        rows = np.arange(len(scanned)) if ref.rows is None else ref.rows
        return ShardIndex(
            path=ref.path,
            version=stat.version,
            keys=scanned.keys[rows],
            starts=scanned.starts[rows],
            ends=scanned.ends[rows],
            image_starts=scanned.image_starts[rows],
            image_sizes=scanned.image_sizes[rows],
            faults=scanned.faults[rows],
            numbers=rows.astype(np.int64),
        )

    @cached_property
    def source(self) -> ShardSource:
        """What reads the shards, with connections of this process."""
        return make_source(self.settings)

    @cached_property
    def _firsts(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)

    @cached_property
    def _lock(self) -> threading.Lock:
        return threading.Lock()

    @cached_property
    def _opened(self) -> dict[int, ShardIndex]:
        return {}

    def __getstate__(self) -> dict[str, object]:
        return {k: value for k, value in vars(self).items() if k not in ("_opened", "_lock")}


def _as_counted(scanned: ScannedShard, summary: ShardSummary) -> ScannedShard:
    """The scan with as many rows as were counted; what a cut file lacks is TRUNCATED."""
    lacking = summary.count - len(scanned)
    if lacking == 0:
        return scanned
    problem = str(scanned.problem[0])
    if lacking < 0 or not problem:
        raise UserError(
            public(summary.path),
            f"holds {len(scanned)} samples, but {summary.origin} says {summary.count}.",
            "Make that file again or remove it; then start again.",
        )
    end = int(scanned.ends[-1]) if len(scanned) else 0
    filler = {"keys": b"?", "starts": end, "ends": end, "image_starts": 0, "image_sizes": -1}
    filler |= {"codes": 0, "faults": TRUNCATED}
    columns = {}
    for name, value in filler.items():
        known = getattr(scanned, name)
        columns[name] = np.concatenate([known, np.full(lacking, value).astype(known.dtype)])
    return replace(scanned, **columns)
