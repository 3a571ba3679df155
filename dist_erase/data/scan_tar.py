"""One pass over a tar's headers: the byte range, key and member names of every sample."""

from __future__ import annotations

import os
import re
import tarfile
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from webdataset.tariterators import base_plus_ext

from dist_erase.errors import UserError

_MEND = "Make or copy the shard again."
# Suffixes taken as the image, in order of preference; other members are left alone.
IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm")
_META = re.compile(r"__[^/]*__($|/)")  # members that webdataset leaves out


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
    """

    keys: NDArray[np.bytes_]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    image_starts: NDArray[np.int64]
    image_sizes: NDArray[np.int64]
    codes: NDArray[np.int64]
    member_sets: NDArray[np.str_]


@dataclass
class _Sample:
    key: str
    start: int
    end: int
    members: dict[str, tuple[int, int]] = field(default_factory=dict)  # suffix → start, size

    def image(self) -> tuple[int, int]:
        """Start and size of the image's content."""
        found = (self.members[suffix] for suffix in IMAGE_SUFFIXES if suffix in self.members)
        return next(found, (0, -1))


def scan_tar(path: str) -> ScannedShard:
    """Groups members as webdataset does: consecutive ones with the same key are a sample.

    The key is the path up to the first dot of its last component, the suffix is the rest.

    Raises:
        UserError: the file is no uncompressed tar, is truncated, holds no sample, or names a
            member twice.
    """
    samples: list[_Sample] = []
    try:
        with tarfile.open(path, "r:") as tar:
            while (member := tar.next()) is not None:
                # Without this, tarfile keeps every header of the shard in memory.
                tar.members = []  # type: ignore[attr-defined]
                if member.isreg() and not _META.match(member.name):
                    _add(samples, member, tar.offset, path)
            end = tar.offset
    except tarfile.ReadError as error:
        raise UserError(path, f"not a readable tar file ({error}).", _MEND) from error
    _check_end(path, end)
    if not samples:
        raise UserError(path, "the shard is empty: it holds no KEY.SUFFIX member.", _MEND)
    return _pack(samples)


def _add(samples: list[_Sample], member: tarfile.TarInfo, end: int, path: str) -> None:
    key, suffix = base_plus_ext(member.name)
    if key is None:
        return
    suffix = suffix.lower()
    if not samples or samples[-1].key != key:
        samples.append(_Sample(key, member.offset, end))
    sample = samples[-1]
    if suffix in sample.members:
        raise UserError(path, f"sample {key} has two .{suffix} members.", _MEND)
    sample.members[suffix] = (member.offset_data, member.size)
    sample.end = end


def _check_end(path: str, end: int) -> None:
    """A whole tar ends in zero blocks; tarfile takes a cut at a header for the end."""
    with open(path, "rb") as stream:
        stream.seek(end)
        marker = stream.read(tarfile.BLOCKSIZE)
    if len(marker) < tarfile.BLOCKSIZE:
        size = os.path.getsize(path)
        raise UserError(path, f"truncated: no end-of-archive mark after {size} bytes.", _MEND)
    if any(marker):
        raise UserError(path, f"corrupt: no tar header at byte {end}.", _MEND)


def _pack(samples: list[_Sample]) -> ScannedShard:
    joined = ["\n".join(sample.members) for sample in samples]
    member_sets, codes = np.unique(joined, return_inverse=True)
    images = np.array([sample.image() for sample in samples], np.int64)
    return ScannedShard(
        keys=np.array([sample.key.encode() for sample in samples], np.bytes_),
        starts=np.array([sample.start for sample in samples], np.int64),
        ends=np.array([sample.end for sample in samples], np.int64),
        image_starts=images[:, 0],
        image_sizes=images[:, 1],
        codes=codes.astype(np.int64),
        member_sets=member_sets,
    )
