"""Where blocks come from: ranged reads of shards."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class ShardStat:
    """What tells one content of a shard from another: bytes, and a mark that changes with them."""

    size: int
    version: str


class Source(Protocol):
    """Something that reads byte ranges of shards."""

    def read(self, shard: str, start: int, stop: int) -> bytes:
        """Bytes [start, stop) of a shard, fewer at its end; OSError names the shard."""
        ...

    def stat(self, shard: str) -> ShardStat:
        """Its size and version; OSError names the shard."""
        ...


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

    def stat(self, shard: str) -> ShardStat:
        """Its size and time of change."""
        status = os.stat(shard)
        return ShardStat(size=status.st_size, version=str(status.st_mtime_ns))


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """How shards are read."""


def make_source(settings: SourceSettings) -> Source:
    """A source for local shards."""
    return LocalSource()


def is_remote(shard: str) -> bool:
    """Whether a shard is named by a URL."""
    return "://" in shard
