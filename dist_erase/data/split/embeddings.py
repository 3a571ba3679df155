"""Second pass, only with a teacher: an embedding of each distinct image, kept on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dist_erase.batch import ImageSpec
from dist_erase.data.decode import decode_image
from dist_erase.data.sample import image_member
from dist_erase.data.split.pool import Pool, PoolShard, usable
from dist_erase.data.split.survey import Progress
from dist_erase.data.split.units import Units
from dist_erase.data.workers import ordered_map
from dist_erase.errors import BadSampleError
from dist_erase.storage import atomic_path

_CHUNK = 256  # images decoded by one task; a shard is cut alike whatever the workers


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A model as the split sees it.

    Attributes:
        fingerprint: of its weights and preprocessing.
        image: how it wants its images.
        embed_images: uint8 [n, 3, H, W] → L2-normalised float32 [n, D] on the CPU.
        embed_texts: n strings → the same.
    """

    fingerprint: str
    image: ImageSpec
    embed_images: Callable[[Tensor], Tensor]
    embed_texts: Callable[[list[str]], Tensor]


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageEmbeddings:
    """Embeddings of U units in files of consecutive ones.

    Attributes:
        bad: unit → why its image cannot be decoded; its embedding is zero.
        files: (first unit, file), in order.
    """

    bad: dict[int, str] = field(default_factory=dict)
    files: list[tuple[int, Path]] = field(default_factory=list)

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yields (first unit, L2-normalised float32 [n, D]); nothing is kept in memory."""
        for first, path in self.files:
            with np.load(path, allow_pickle=False) as arrays:
                block = arrays["embeddings"].astype(np.float32)
            norms = np.linalg.norm(block, axis=1, keepdims=True)
            yield first, block / np.maximum(norms, 1e-6)

    def gather(self, units: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows of sorted units, float32 [n, D]."""
        rows = []
        for first, block in self.blocks():
            start, stop = np.searchsorted(units, [first, first + len(block)])
            rows.append(block[units[start:stop] - first])
        return np.concatenate(rows)


@dataclass(frozen=True)
class _Chunk:
    shard: PoolShard
    image: ImageSpec


def embed_units(
    pool: Pool,
    units: Units,
    teacher: Teacher,
    *,
    folder: Path,
    workers: int,
    progress: Progress,
) -> ImageEmbeddings:
    """Embeds the first sample of each unit; shards whose file lies in `folder` are left alone.

    Processes decode, this one embeds.
    """
    answer = ImageEmbeddings()
    todo: list[tuple[PoolShard, Path]] = []
    first = 0
    for shard in pool.pick(units.firsts):
        path = folder / f"{shard.number:06d}.npz"
        answer.files.append((first, path))
        first += len(shard)
        if not path.exists():
            todo.append((shard, path))
    decoded = ordered_map(_decode, _chunks([shard for shard, _ in todo], teacher), workers=workers)
    done = first - sum(len(shard) for shard, _ in todo)
    progress("embedding images", done, first)
    for shard, path in todo:
        parts, bad = [], []
        for start in range(0, len(shard), _CHUNK):
            images, reasons = next(decoded)
            parts.append(teacher.embed_images(torch.from_numpy(images)).numpy())
            bad += [(start + row, reason) for row, reason in reasons]
            done += len(images)
            progress("embedding images", done, first)
        _save(path, np.concatenate(parts), bad)
    for first, path in answer.files:
        with np.load(path, allow_pickle=False) as arrays:
            listed = json.loads(arrays["bad"].tobytes())
        answer.bad.update({first + row: reason for row, reason in listed})
    return answer


def _chunks(shards: Sequence[PoolShard], teacher: Teacher) -> Iterator[_Chunk]:
    for shard in shards:
        for start in range(0, len(shard), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(shard)))
            yield _Chunk(shard.only(rows), teacher.image)


def _decode(chunk: _Chunk) -> tuple[NDArray[np.uint8], list[tuple[int, str]]]:
    """Images uint8 [n, 3, H, W], black where one is bad, and (row, why) of those."""
    images = np.zeros((len(chunk.shard), chunk.image.height, chunk.image.width, 3), np.uint8)
    bad = []
    for row, raw in enumerate(chunk.shard.read()):
        try:
            images[row] = decode_image(image_member(usable(raw)), chunk.image)
        except BadSampleError as error:
            bad.append((row, error.detail))
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), bad


def _save(path: Path, embeddings: NDArray[np.float32], bad: list[tuple[int, str]]) -> None:
    """Half precision: cosines are good to 0.001, which is finer than any cut by eye."""
    embeddings[[row for row, _ in bad]] = 0
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            embeddings=embeddings.astype(np.float16),
            bad=np.frombuffer(json.dumps(bad).encode(), np.uint8),
        )
