"""What every source of shards can do, and the settings that travel to data workers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from dist_erase.config.data import StreamingConfig
from dist_erase.config.sizes import parse_size

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True)
class ShardStat:
    """What a shard is at the moment.

    Attributes:
        size: bytes.
        version: changes when the content may have changed: time of change of a local file,
            generation, etag or time of change of a remote one.
    """

    size: int
    version: str


class Source(Protocol):
    """Something that reads byte ranges of shards."""

    def read(self, shard: str, start: int, stop: int) -> bytes:
        """Bytes [start, stop) of a shard, fewer only at its real end; OSError names the shard."""

    def stat(self, shard: str) -> ShardStat:
        """Size and version; FileNotFoundError or another OSError names the shard."""


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """How shards are read; picklable.

    Attributes:
        timeout_seconds: deadline of one attempt at a remote read.
        retries: further attempts after a failure that may pass.
        storage: fsspec's options by protocol; no credentials.
        cache_dir: folder of the block cache for remote shards; None = no cache.
        cache_bytes: its limit.
        allow_pipe: whether `pipe:COMMAND` may run commands.
    """

    timeout_seconds: float = 60.0
    retries: int = 5
    storage: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cache_dir: str | None = None
    cache_bytes: int = 50 * 10**9
    allow_pipe: bool = False

    @classmethod
    def of(cls, data: StreamingConfig) -> SourceSettings:
        """From the `data` section, whose paths are absolute."""
        return cls(
            timeout_seconds=data.read.timeout_seconds,
            retries=data.read.retries,
            storage=data.storage,
            cache_dir=data.block_cache.dir,
            cache_bytes=parse_size(data.block_cache.max_bytes),
            allow_pipe=data.allow_pipe,
        )


def protocol_of(shard: str) -> str | None:
    """`s3` of `s3://bucket/a.tar`; None of a local path."""
    found = _SCHEME.match(shard)
    if found is None or found[1].lower() in ("file", "local"):
        return None
    return found[1].lower()


def is_remote(shard: str) -> bool:
    """Whether a shard is behind a URL of a protocol other than file."""
    return protocol_of(shard) is not None


def local_path(shard: str) -> str:
    """The path of a local shard: without `file://`."""
    return _SCHEME.sub("", shard, count=1) if _SCHEME.match(shard) else shard
