"""One source for local paths and every URL, with the block cache in front of the remote ones."""

from __future__ import annotations

import threading

from dist_erase.config.source import runs_a_command
from dist_erase.data.source.block_cache import BlockCache
from dist_erase.data.source.local import LocalSource
from dist_erase.data.source.pipe import PipeSource
from dist_erase.data.source.protocol import ShardStat, SourceSettings, is_remote
from dist_erase.data.source.remote import RemoteSource


class ShardSource:
    """Reads shards wherever they live; picklable, for threads, forks and other processes.

    Attributes:
        queries: blocks looked for in the block cache, by this process.
        hits: those found.
    """

    def __init__(self, settings: SourceSettings) -> None:
        self.settings = settings
        self.remote = RemoteSource(settings)
        self._local = LocalSource()
        self._pipes = PipeSource(settings.cache_dir)
        self._cache = None
        if settings.cache_dir is not None:
            self._cache = BlockCache(settings.cache_dir, settings.cache_bytes)
        self._counting = threading.Lock()  # reads ahead run in threads
        self.queries = self.hits = 0

    def __reduce__(self) -> tuple[type[ShardSource], tuple[SourceSettings]]:
        """Only the settings travel; the other process opens its own connections."""
        return ShardSource, (self.settings,)

    def read(self, shard: str, start: int, stop: int) -> bytes:
        """Bytes [start, stop) of a shard, fewer only at its real end.

        Raises:
            OSError: the read failed for good; names the shard.
            UserError: the URL's protocol is unknown, or its library is missing.
        """
        if self._is_pipe(shard):
            return self._pipes.read(shard, start, stop)
        if not is_remote(shard):
            return self._local.read(shard, start, stop)
        if self._cache is None:
            return self.remote.read(shard, start, stop)
        version = self.remote.version(shard)
        held = self._cache.get(shard, version, start, stop)
        with self._counting:
            self.queries += 1
            self.hits += held is not None
        if held is not None:
            return held
        data = self.remote.read(shard, start, stop)
        self._cache.put(shard, version, start, stop, data)
        return data

    def stat(self, shard: str) -> ShardStat:
        """Size and version.

        Raises:
            FileNotFoundError: there is no such shard.
            OSError: it cannot be asked for; names the shard.
            UserError: as `read`.
        """
        if self._is_pipe(shard):
            return self._pipes.stat(shard)
        return self.remote.stat(shard) if is_remote(shard) else self._local.stat(shard)

    def _is_pipe(self, shard: str) -> bool:
        return self.settings.allow_pipe and runs_a_command(shard)


def make_source(settings: SourceSettings) -> ShardSource:
    """A source; connections are opened by the first read, in each process anew."""
    return ShardSource(settings)
