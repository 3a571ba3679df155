"""Header scans kept on disk, one file a shard, so that no shard is walked twice."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

import numpy as np
from filelock import FileLock

from dist_erase.data.scan_tar import ScannedShard, scan_tar
from dist_erase.data.source import ShardStat, Source
from dist_erase.data.summaries import cache_name
from dist_erase.storage import atomic_path

_VERSION = 2  # raise it when `ScannedShard` changes
_log = logging.getLogger(__name__)


def scan_kept(path: str, source: Source, stat: ShardStat, folder: Path | None) -> ScannedShard:
    """The scan of a shard, made once for each version of it.

    Many processes may ask at once, also for the same shard: the first walks, the others wait.

    Args:
        path: the shard.
        source: reads it.
        stat: its size and version now.
        folder: where scans are kept; None = nowhere.

    Raises:
        OSError: a read failed.
    """
    if folder is None:
        return scan_tar(path, source)
    kept = folder / f"{cache_name(path)}.npz"
    found = _load(kept, stat)
    if found is not None:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(kept.with_suffix(".lock")):
        found = _load(kept, stat)
        if found is None:
            found = scan_tar(path, source)
            with atomic_path(kept) as temporary, temporary.open("wb") as stream:
                np.savez(stream, identity=np.array(_identity(stat)), **vars(found))
    kept.with_suffix(".lock").unlink(missing_ok=True)
    return found


def _load(kept: Path, stat: ShardStat) -> ScannedShard | None:
    try:
        with np.load(kept, allow_pickle=False) as arrays:
            fields = {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        _log.warning("the kept scan %s cannot be read (%s); it is made again", kept, error)
        return None
    if str(fields.pop("identity", "")) != _identity(stat):
        return None
    return ScannedShard(**fields)


def _identity(stat: ShardStat) -> str:
    return f"{_VERSION}\n{stat.size}\n{stat.version}"
