"""Where blocks come from: ranged reads of shards."""

from __future__ import annotations

from typing import Protocol


class Source(Protocol):
    """Something that reads byte ranges of shards."""

    def read(self, shard: str, start: int, stop: int) -> bytes:
        """Bytes [start, stop) of a shard, fewer at its end; OSError names the shard."""


class LocalSource:
    """Shards on a file system."""

    def read(self, shard: str, start: int, stop: int) -> bytes:
        """Bytes [start, stop) of a shard, fewer at its end; OSError names the shard."""
        try:
            with open(shard, "rb") as stream:
                stream.seek(start)
                return stream.read(stop - start)
        except OSError as error:
            # read() and seek() leave the file name out; without it nobody finds the disk at fault.
            raise OSError(error.errno, error.strerror, shard) from error
