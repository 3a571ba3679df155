"""One pass over a tar's headers: the byte range, key and member names of every sample."""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from webdataset.tariterators import base_plus_ext

from dist_erase.config.secrets import public
from dist_erase.data.ranged import RangedFile
from dist_erase.data.source import Source
from dist_erase.errors import UserError

_MEND = "Make or copy the shard again, or set data.max_corrupt_fraction above 0 to go on without."
# Suffixes taken as the image, in order of preference; other members are left alone.
IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm")
LEFT_OUT = re.compile(r"__[^/]*__($|/)")  # members that webdataset leaves out

# What a header scan finds wrong with a sample; `FAULTS[code]` is a BadSampleError's reason.
SOUND, TRUNCATED, DUPLICATE = range(3)
FAULTS = ("", "truncated", "duplicate")


@dataclass(frozen=True, eq=False)
class ScannedShard:
    """What a shard holds; arrays have one entry a sample, in file order.

    Attributes:
        keys: bytes, UTF-8.
        starts, ends: int64, byte range of the sample's members with their headers.
        image_starts, image_sizes: int64, byte range of the image's content; size -1 where there
            is no image.
        codes: int64, which of `member_sets` the sample has.
        member_sets: str, the distinct sets of suffixes, each joined by newlines.
        faults: int8, SOUND, TRUNCATED (the file ends inside it) or DUPLICATE (its key and member
            follow themselves).
        problem: str [1], what is wrong with the file as a whole; "" = nothing.
    """

    keys: NDArray[np.bytes_]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    image_starts: NDArray[np.int64]
    image_sizes: NDArray[np.int64]
    codes: NDArray[np.int64]
    member_sets: NDArray[np.str_]
    faults: NDArray[np.int8]
    problem: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.starts)

    def check(self, path: str) -> None:
        """Raises UserError for the first thing that is wrong with the file or a sample of it."""
        problem = str(self.problem[0])
        if problem:
            raise UserError(public(path), problem, _MEND)
        if not len(self):
            raise UserError(
                public(path), "the shard is empty: it holds no KEY.SUFFIX member.", _MEND
            )
        twice = np.flatnonzero(self.faults == DUPLICATE)
        if len(twice):
            key = bytes(self.keys[twice[0]]).decode(errors="replace")
            raise UserError(public(path), f"sample {key} has a member twice.", _MEND)


@dataclass
class _Sample:
    key: str
    start: int
    end: int
    fault: int = SOUND
    members: dict[str, tuple[int, int]] = field(default_factory=dict)  # suffix → start, size

    def image(self) -> tuple[int, int]:
        """Start and size of the image's content."""
        found = (self.members[suffix] for suffix in IMAGE_SUFFIXES if suffix in self.members)
        return next(found, (0, -1))


def scan_tar(path: str, source: Source) -> ScannedShard:
    """Groups members as webdataset does: consecutive ones with the same key are a sample.

    The key is the path up to the first dot of its last component, the suffix is the rest. Only
    headers are read. What is wrong with the file is a part of the result, not an error.

    Raises:
        OSError: a read failed.
    """
    samples: list[_Sample] = []
    size = source.stat(path).size
    stream: Any = RangedFile(source, path, size)
    end, problem = 0, ""
    try:
        with tarfile.open(path, "r:", fileobj=stream) as tar:
            while (member := tar.next()) is not None:
                # Without this, tarfile keeps every header of the shard in memory.
                tar.members = []  # type: ignore[attr-defined]
                if member.isreg() and not LEFT_OUT.match(member.name):
                    _add(samples, member, tar.offset, size)
            end = tar.offset
        problem = _fault_at_end(stream, end, size)
    except tarfile.ReadError as error:
        problem = _unreadable(error, samples, size)
    return _pack(samples, problem)


def key_bytes(key: str) -> bytes:
    """A key as it is kept: the bytes of the tar, whatever their encoding."""
    return key.encode("utf-8", "surrogateescape")


def _add(samples: list[_Sample], member: tarfile.TarInfo, end: int, size: int) -> None:
    key, suffix = base_plus_ext(member.name)
    if key is None:
        return
    suffix = suffix.lower()
    last = samples[-1] if samples else None
    if last is None or last.key != key:
        samples.append(_Sample(key, member.offset, end))
    elif suffix in last.members:
        samples.append(_Sample(key, member.offset, end, DUPLICATE))
    sample = samples[-1]
    sample.members[suffix] = (member.offset_data, member.size)
    sample.end = min(end, size)
    if end > size:  # padding included, without which tarfile refuses to go on
        sample.fault = TRUNCATED


def _unreadable(error: tarfile.ReadError, samples: list[_Sample], size: int) -> str:
    if samples:  # a header or a member's content is cut off
        return f"truncated: no end-of-archive mark after {size} bytes."
    return f"not a readable tar file ({error})."


def _fault_at_end(stream: RangedFile, end: int, size: int) -> str:
    """A whole tar ends in zero blocks; tarfile takes a cut at a header for the end."""
    stream.seek(end)
    marker = stream.read(tarfile.BLOCKSIZE)
    if len(marker) < tarfile.BLOCKSIZE:
        return f"truncated: no end-of-archive mark after {size} bytes."
    return f"corrupt: no tar header at byte {end}." if any(marker) else ""


def _pack(samples: list[_Sample], problem: str) -> ScannedShard:
    joined = ["\n".join(sample.members) for sample in samples]
    member_sets, codes = np.unique(np.array(joined, np.str_), return_inverse=True)
    images = np.array([sample.image() for sample in samples], np.int64).reshape(-1, 2)
    return ScannedShard(
        keys=np.array([key_bytes(sample.key) for sample in samples], np.bytes_),
        starts=np.array([sample.start for sample in samples], np.int64),
        ends=np.array([sample.end for sample in samples], np.int64),
        image_starts=images[:, 0],
        image_sizes=images[:, 1],
        codes=codes.astype(np.int64),
        member_sets=member_sets,
        faults=np.array([sample.fault for sample in samples], np.int8),
        problem=np.array([problem]),
    )
