"""Where every sample of a set lies: byte ranges found by scanning tar headers, kept in a cache."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dist_erase.config.data import SourceConfig
from dist_erase.data.draws import SUBSET, permutation
from dist_erase.data.scan_tar import IMAGE_SUFFIXES, ScannedShard, scan_tar
from dist_erase.data.shards import choose_shards, expand_shards
from dist_erase.errors import UserError
from dist_erase.storage import atomic_path

_CACHE_VERSION = 1  # raise it when `ScannedShard` changes


@dataclass(frozen=True, eq=False, kw_only=True)
class ShardIndex:
    """The chosen samples of one shard, in file order; all arrays have one entry a sample.

    Attributes:
        path: absolute path of the tar file.
        keys: bytes, UTF-8; a label only (img2dataset's keys start at 0 in every set).
        starts, ends: int64, the byte range of the sample's members, headers included.
        image_starts, image_sizes: int64, the byte range of the image's content.
        numbers: int64, the sample's number in the whole shard.
    """

    path: str
    keys: NDArray[np.bytes_]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    image_starts: NDArray[np.int64]
    image_sizes: NDArray[np.int64]
    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)

    def rows(self, rows: NDArray[np.int64]) -> ShardIndex:
        """The same shard with some of its samples only."""
        arrays = {name: value[rows] for name, value in vars(self).items() if name != "path"}
        return ShardIndex(path=self.path, **arrays)


@dataclass(frozen=True, eq=False)
class SetIndex:
    """All samples of a set; a sample's position is its ordinal over the shards."""

    shards: tuple[ShardIndex, ...]

    def __len__(self) -> int:
        return int(self._firsts[-1])

    @property
    def counts(self) -> tuple[int, ...]:
        """Samples per shard."""
        return tuple(len(shard) for shard in self.shards)

    @property
    def bytes(self) -> int:
        """Bytes of all samples, tar headers included."""
        return sum(int((shard.ends - shard.starts).sum()) for shard in self.shards)

    @cached_property
    def fingerprint(self) -> str:
        """Hex BLAKE2b of the samples' keys, numbers and sizes in order; paths do not count."""
        digest = hashlib.blake2b(digest_size=16)
        for shard in self.shards:
            for rows in (shard.numbers, shard.ends - shard.starts):
                digest.update(rows.tobytes())
            digest.update(b"\n".join(shard.keys.tolist()))
        return digest.hexdigest()

    def locate(self, position: int) -> tuple[int, int]:
        """Position → (shard number, row in that `ShardIndex`)."""
        shard_no = int(np.searchsorted(self._firsts, position, side="right")) - 1
        return shard_no, int(position - self._firsts[shard_no])

    def label(self, position: int) -> tuple[str, int, str]:
        """Position → (shard path, number in the shard, key), as people name a sample."""
        shard_no, row = self.locate(position)
        shard = self.shards[shard_no]
        return shard.path, int(shard.numbers[row]), bytes(shard.keys[row]).decode()

    @cached_property
    def _firsts(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)


def index_set(
    source: SourceConfig, *, where: str, cache_dir: Path | None = None, seed: int = 0
) -> SetIndex:
    """Indexes a set; many processes may call it at once, with one `cache_dir`.

    Args:
        source: patterns, the caption's member and `max_samples`.
        where: configuration key of `source`, named in errors.
        cache_dir: where scans are kept, one file a shard, by path, size and time of change.
        seed: draws the subset that `max_samples` asks for.

    Raises:
        UserError: a shard is missing, empty, truncated or no tar, or one of its samples has no
            image or no caption member; the message names the file.
    """
    groups = expand_shards(source.shards, where=f"{where}.shards")
    paths = [path for group in choose_shards(groups, source.max_shards, seed) for path in group]
    shards = [_index_shard(path, source.caption.split(":")[0], where, cache_dir) for path in paths]
    if source.max_samples is not None:
        shards = _subset(shards, source.max_samples, seed)
    return SetIndex(tuple(shards))


def _index_shard(path: str, caption: str, where: str, cache_dir: Path | None) -> ShardIndex:
    scanned = _scan_cached(path, cache_dir)
    for code, suffixes in enumerate(scanned.member_sets):
        problem = _missing_member(suffixes.split("\n"), caption)
        if problem:
            row = int(np.argmax(scanned.codes == code))
            key = bytes(scanned.keys[row]).decode()
            raise UserError(
                where,
                f"shard {path}: sample {key} {problem}.",
                f"Add the member, remove the sample, or change {where}.caption.",
            )
    return ShardIndex(
        path=path,
        keys=scanned.keys,
        starts=scanned.starts,
        ends=scanned.ends,
        image_starts=scanned.image_starts,
        image_sizes=scanned.image_sizes,
        numbers=np.arange(len(scanned.starts), dtype=np.int64),
    )


def _missing_member(suffixes: list[str], caption: str) -> str | None:
    held = f" (it holds .{', .'.join(suffixes)})"
    if caption not in suffixes:
        return f"has no .{caption} member{held}"
    if not any(suffix in suffixes for suffix in IMAGE_SUFFIXES):
        return f"has no image member{held}"
    return None


def _scan_cached(path: str, cache_dir: Path | None) -> ScannedShard:
    if cache_dir is None:
        return scan_tar(path)
    status = os.stat(path)
    identity = f"{_CACHE_VERSION}\n{path}\n{status.st_size}\n{status.st_mtime_ns}"
    name = hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
    cached = cache_dir / f"{name}.npz"
    if cached.exists():
        with np.load(cached, allow_pickle=False) as arrays:
            return ScannedShard(**{field: arrays[field] for field in arrays.files})
    scanned = scan_tar(path)
    with atomic_path(cached) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **vars(scanned))
    return scanned


def _subset(shards: list[ShardIndex], size: int, seed: int) -> list[ShardIndex]:
    """The `size` samples whose draws are smallest, in file order; shards left empty go."""
    firsts = np.concatenate([[0], np.cumsum([len(shard) for shard in shards])])
    chosen = np.sort(permutation(int(firsts[-1]), seed, SUBSET)[:size])
    kept = []
    for shard, first, stop in zip(shards, firsts, firsts[1:], strict=False):
        rows = chosen[(chosen >= first) & (chosen < stop)] - first
        if len(rows):
            kept.append(shard.rows(rows))
    return kept
