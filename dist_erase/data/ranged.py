"""A shard as a seekable file, read in ranges: what tarfile needs to walk over headers."""

from __future__ import annotations

import io

from dist_erase.data.source import Source

# Headers lie an image apart. For smaller images one request per several of them is quicker, for
# larger ones the content between is jumped over.
_CHUNK = 256 * 1024


class RangedFile(io.RawIOBase):
    """Reads `shard` through `source`, a chunk at a time; nothing else of the file is fetched."""

    def __init__(self, source: Source, shard: str, size: int, chunk: int = _CHUNK) -> None:
        self._source = source
        self._shard = shard
        self._size = size
        self._chunk = chunk
        self._at = 0
        self._held = (0, b"")  # where the chunk at hand begins, and its bytes

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position of the next read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves; nothing is read before the next `read`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def read(self, amount: int = -1, /) -> bytes:
        """`amount` bytes, fewer at the end of the file; raises OSError."""
        stop = self._size if amount < 0 else min(self._at + amount, self._size)
        if self._at >= stop:
            return b""
        first, data = self._held
        if not first <= self._at or stop > first + len(data):
            end = min(max(stop, self._at + self._chunk), self._size)
            first, data = self._held = self._at, self._source.read(self._shard, self._at, end)
        found = data[self._at - first : stop - first]
        self._at += len(found)
        return found
