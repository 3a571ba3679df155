"""Blocks of remote shards on a local disk, shared by processes and runs.

DIR/SHARD/VERSION-START-STOP holds one block: a CRC-32 and the bytes. The folder's size is counted
in DIR/.bytes under DIR/.lock, a block before it is written, so the limit holds for all processes
together (blocks being written during an eviction may come on top). What is deleted first was used
longest ago: its time of change is set on each use. A block that is missing, damaged or deleted
meanwhile is a miss. A disk that is full or cannot be written costs the cache, never the run.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from dist_erase.config.secrets import unsigned
from dist_erase.storage import atomic_path

_log = logging.getLogger(__name__)
_LOCK, _COUNT, _FORGOTTEN = ".lock", ".bytes", ".forgotten-"
_LOCK_SECONDS, _POLL_SECONDS = 10.0, 0.005
_FILLED_TO = 0.9  # share of the limit kept by an eviction, so that not every block causes one
_LEFT_BEHIND = 3600.0  # seconds after which a temporary file belongs to nobody any more
_CRC = 4


@dataclass(frozen=True)
class _Block:
    path: str
    size: int
    used: float  # seconds since the epoch
    whole: bool  # False while it is written


class BlockCache:
    """Keeps blocks in `folder` within `limit` bytes; any number of processes may share it."""

    def __init__(self, folder: str, limit: int) -> None:
        self._folder = Path(folder)
        self._limit = limit
        self._writable = True

    def get(self, shard: str, version: str, start: int, stop: int) -> bytes | None:
        """The block, or None."""
        path = self._path(shard, version, start, stop)
        try:
            content = path.read_bytes()
            if zlib.crc32(content[_CRC:]).to_bytes(_CRC, "big") != content[:_CRC]:
                path.unlink(missing_ok=True)
                return None
            with suppress(FileNotFoundError):  # deleted since it was read: it is still good
                os.utime(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._give_up(error)
            return None
        return content[_CRC:]

    def put(self, shard: str, version: str, start: int, stop: int, data: bytes) -> None:
        """Keeps a block, if it fits and the disk lets it."""
        size = _CRC + len(data)
        if not self._writable or size > self._limit:
            return
        path = self._path(shard, version, start, stop)
        try:
            if path.exists() or not self._reserve(size):
                return
            with atomic_path(path) as temporary:
                temporary.write_bytes(zlib.crc32(data).to_bytes(_CRC, "big") + data)
        except FileNotFoundError:  # the shard was forgotten while its block was written
            return
        except (OSError, NotImplementedError) as error:  # the latter: no locks on this disk
            self._give_up(error)

    def _path(self, shard: str, version: str, start: int, stop: int) -> Path:
        return _shard_folder(self._folder, shard) / f"{_hash(version)}-{start}-{stop}"

    def _reserve(self, size: int) -> bool:
        """Counts `size` bytes, deleting old blocks for them; False when others hold the lock."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._folder / _LOCK, timeout=_LOCK_SECONDS, poll_interval=_POLL_SECONDS):
                held = _counted(self._folder)
                if held is None or held + size > self._limit:
                    held = _evict(self._folder, int(self._limit * _FILLED_TO) - size)
                (self._folder / _COUNT).write_text(str(held + size))
        except Timeout:
            return False
        return True

    def _give_up(self, error: OSError | NotImplementedError) -> None:
        if self._writable:
            _log.warning(
                "data.block_cache.dir: %s cannot be used (%s); this process reads on without "
                "keeping blocks.",
                self._folder,
                getattr(error, "strerror", None) or error,
            )
        self._writable = False


def blocks_of(folder: str, shard: str) -> tuple[int, int]:
    """How many blocks of a shard a cache holds, of every version, and their bytes."""
    blocks = _shard_folder(Path(folder), shard)
    sizes = [entry.stat().st_size for entry in blocks.iterdir()] if blocks.is_dir() else []
    return len(sizes), sum(sizes)


def forget_shard(folder: str, shard: str) -> int:
    """Deletes a shard's blocks from a cache, of every version; the bytes freed.

    Args:
        folder: `data.block_cache.dir`.
        shard: its URL as it was read; a signature in it does not matter.

    Raises:
        OSError: the folder cannot be changed.
    """
    root = Path(folder)
    if not root.is_dir():
        return 0
    with FileLock(root / _LOCK):
        blocks = _shard_folder(root, shard)
        if blocks.is_dir():  # out of the way first: a process may be writing into it
            blocks.rename(root / f"{_FORGOTTEN}{uuid.uuid4().hex}")
        freed = 0
        for going in root.glob(f"{_FORGOTTEN}*"):  # one of a killed process, too
            freed += sum(entry.stat().st_size for entry in going.iterdir())
            shutil.rmtree(going)
        (root / _COUNT).unlink(missing_ok=True)  # counted anew by the next block
    return freed


def _counted(folder: Path) -> int | None:
    try:
        return int((folder / _COUNT).read_text())
    except (FileNotFoundError, ValueError):
        return None


def _evict(folder: Path, target: int) -> int:
    """Deletes the blocks unused for longest until `target` bytes are left; the bytes left."""
    blocks = sorted(_blocks(folder), key=lambda block: block.used)
    held = sum(block.size for block in blocks)
    for block in filter(lambda block: block.whole, blocks):
        if held <= target:
            break
        Path(block.path).unlink(missing_ok=True)
        held -= block.size
    return held


def _blocks(folder: Path) -> Iterator[_Block]:
    """Every block; what a killed process left half written is deleted."""
    for shard in os.scandir(folder):
        if not shard.is_dir():
            continue
        for entry in os.scandir(shard):
            try:
                status = entry.stat()
                whole = not entry.name.endswith(".tmp")
                if not whole and time.time() - status.st_mtime > _LEFT_BEHIND:
                    os.unlink(entry)
                    continue
            except FileNotFoundError:
                continue
            yield _Block(entry.path, status.st_size, status.st_mtime, whole)


def _shard_folder(folder: Path, shard: str) -> Path:
    """Named by the URL without a signature, which changes while the shard stays the same."""
    return folder / _hash(unsigned(shard))


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
