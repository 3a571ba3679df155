"""Shards on a file system."""

from __future__ import annotations

import os

from dist_erase.data.source.protocol import ShardStat, local_path


class LocalSource:
    """Plain files."""

    def read(self, shard: str, start: int, stop: int) -> bytes:
        """Bytes [start, stop) of a shard, fewer at its end; OSError names the shard."""
        try:
            with open(local_path(shard), "rb") as stream:
                stream.seek(start)
                return stream.read(stop - start)
        except OSError as error:
            # read() and seek() leave the file name out; without it nobody finds the disk at fault.
            raise OSError(error.errno, error.strerror, shard) from error

    def stat(self, shard: str) -> ShardStat:
        """Size, and the time of change as the version; OSError names the shard."""
        status = os.stat(local_path(shard))
        return ShardStat(size=status.st_size, version=f"mtime:{status.st_mtime_ns}")
