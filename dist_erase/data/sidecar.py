"""How many samples a shard holds according to a file beside it: no shard is opened.

Read are the indexes of DALI (`NAME.idx`, text, "v1.2 COUNT") and Megatron-Energon
(`NAME.tar.idx`, 8 bytes for each offset), img2dataset's `NAME_stats.json` and webdataset's
`sizes.json` of the folder, in this order.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

from dist_erase.config.secrets import public
from dist_erase.config.source import runs_a_command
from dist_erase.data.source import Source
from dist_erase.errors import UserError


@dataclass(frozen=True)
class Counted:
    """Samples in a shard, the file that says so, and the version of that."""

    count: int
    origin: str
    version: str


def count_by_sidecar(shard: str, source: Source) -> Counted | None:
    """The count by the first side file there is; None where there is none.

    Raises:
        OSError: a read failed for another reason than that the file is not there.
        UserError: a side file is there and makes no sense.
    """
    if runs_a_command(shard) or "?" in shard:  # a signature fits one file only
        return None
    stem = shard.removesuffix(".tar")
    folder, _, name = shard.rpartition("/")
    for origin, count in (
        (f"{stem}.idx", _dali),
        (f"{shard}.idx", _energon),
        (f"{stem}_stats.json", _img2dataset),
        (f"{folder}/sizes.json", lambda data: _sizes(data, name)),
    ):
        content = _content(origin, source)
        if content is None:
            continue
        data, version = content
        try:
            found = count(data)
        except (ValueError, KeyError, TypeError, IndexError, struct.error) as error:
            raise UserError(
                public(origin),
                f"is no index of samples ({type(error).__name__}: {error}).",
                "Make it again or remove it; the shard's headers are then read instead.",
            ) from error
        if found is not None:
            return Counted(found, origin, version)
    return None


def _content(path: str, source: Source) -> tuple[bytes, str] | None:
    try:
        stat = source.stat(path)
        return source.read(path, 0, stat.size), stat.version
    except (FileNotFoundError, PermissionError):  # stores without list rights answer 403
        return None


def _dali(data: bytes) -> int:
    version, count = data.split(b"\n", 1)[0].split()
    if not version.startswith(b"v1."):
        raise ValueError(f"version {version!r}")
    return int(count)


def _energon(data: bytes) -> int:
    # One offset for each sample, then that of the end.
    offsets = struct.unpack(f"<{len(data) // 8}Q", data)
    if list(offsets) != sorted(set(offsets)):
        raise ValueError("offsets do not grow")
    return len(offsets) - 1


def _img2dataset(data: bytes) -> int:
    return _natural(json.loads(data)["successes"])


def _sizes(data: bytes, name: str) -> int | None:
    sizes = json.loads(data)
    return _natural(sizes[name]) if name in sizes else None


def _natural(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
