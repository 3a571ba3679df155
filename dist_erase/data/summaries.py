"""What is kept of the counted shards of a set, for every process that asks about them later."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dist_erase.config.secrets import unsigned
from dist_erase.data.source import ShardStat
from dist_erase.storage import write_text

HEADERS = "headers"  # where a count comes from, if not from a side file
_VERSION = 2  # of the summaries on disk
_log = logging.getLogger(__name__)


def cache_name(path: str) -> str:
    """The name that a shard goes by in caches: a new signature in its URL does not change it."""
    return hashlib.blake2b(unsigned(path).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, kw_only=True)
class ShardSummary:
    """One shard as it was counted.

    Attributes:
        size: bytes of the file.
        version: of its content, by the file system or the store.
        count: samples.
        origin: HEADERS, or the side file that the count comes from.
        problem: what is wrong with the file as a whole; "" = nothing is known.
        duplicate: key of the first sample that has a member twice; "" = none is known.
        content: digest of keys, places and sizes of all images; "" where the count comes from a
            side file.
        origin_version: of the side file.
        machine: where a local shard was looked at, by `storage.boot_id`; a copy on another one
            has another time of change.
        members: for each set of suffixes (joined by newlines), the key of the first sample that
            has it; empty where the count comes from a side file.
    """

    path: str
    size: int
    version: str
    count: int
    origin: str
    problem: str = ""
    duplicate: str = ""
    content: str = ""
    origin_version: str = ""
    machine: str = ""
    members: dict[str, str]

    @property
    def stat(self) -> ShardStat:
        """Size and version."""
        return ShardStat(size=self.size, version=self.version)


def changed(
    kept: Mapping[str, ShardSummary], paths: Sequence[str], stats: Sequence[ShardStat]
) -> list[str]:
    """The shards that are no longer as they were kept."""
    return [
        path
        for path, stat in zip(paths, stats, strict=True)
        if path in kept and kept[path].stat != stat
    ]


def kept_summaries(folder: Path, paths: Sequence[str]) -> dict[str, ShardSummary]:
    """What is kept of a set, by shard, whether it still holds or not; {} if nothing."""
    path = _file(folder, paths)
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _log.warning("the kept index %s cannot be read: %s", path, error)
        return {}
    if stored["version"] != _VERSION:
        return {}
    known = {shard["path"]: ShardSummary(**shard) for shard in stored["shards"]}
    # Kept without signatures: they are secrets, and soon others.
    named = [(path, known.get(unsigned(path))) for path in paths]
    return {path: replace(summary, path=path) for path, summary in named if summary is not None}


def keep_summaries(folder: Path, paths: Sequence[str], summaries: Sequence[ShardSummary]) -> None:
    """Writes the summaries of a set, in the order of `paths`."""
    rows = [asdict(summary) | {"path": unsigned(summary.path)} for summary in summaries]
    text = json.dumps({"version": _VERSION, "shards": rows}, separators=(",", ":"))
    write_text(_file(folder, paths), text)


def _file(folder: Path, paths: Sequence[str]) -> Path:
    joined = "\n".join(map(unsigned, paths))
    return folder / f"set-{hashlib.blake2b(joined.encode(), digest_size=16).hexdigest()}.json"
