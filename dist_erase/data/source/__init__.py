"""Where blocks come from: ranged reads of shards on disks, web servers and object stores."""

from __future__ import annotations

from dist_erase.data.source.block_cache import blocks_of, forget_shard
from dist_erase.data.source.factory import ShardSource, make_source
from dist_erase.data.source.local import LocalSource
from dist_erase.data.source.protocol import ShardStat, Source, SourceSettings, is_remote

__all__ = [
    "LocalSource",
    "ShardSource",
    "ShardStat",
    "Source",
    "SourceSettings",
    "blocks_of",
    "forget_shard",
    "is_remote",
    "make_source",
]
