"""Write access, and room for checkpoints, caches and what Ray writes."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from dist_erase.config.sizes import parse_size
from dist_erase.orchestration.doctor.needs import (
    GB,
    Config,
    checkpoint_bytes,
    checkpoints_kept,
    in_words,
    run_bytes,
    run_dir,
    stored_parameters,
)
from dist_erase.orchestration.doctor.row import Row, fail, ok, warn

_CLOCK_SECONDS = 2.0
_LOCK_SECONDS = 2.0
_TIGHT = 1.5  # times what is needed
_RAY_REFUSES = 0.95  # Ray writes no more objects to a disk that is filled so far
_BLOCK = b"\0" * 65536


def check_writing(config: Config | None) -> Iterator[Row]:
    """Really writes, syncs, renames and locks a file where run folders go; leaves nothing."""
    wanted = run_dir(config)
    folder = nearest(wanted)
    at = f"{wanted}" if folder == wanted else f"{wanted} (to be made in {folder})"
    mend = "Choose a run.dir on a disk that every node may write to."
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as name:
            written = _write(Path(name))
            locks = _locks(Path(name))
    except OSError as error:
        yield fail("run.dir", f"{at} cannot be written: {error.strerror or error}", mend)
        return
    if locks:
        yield ok("run.dir", f"{at} can be written")
    else:
        yield fail("run.dir", f"{at} has a file system without locks", mend)
    apart = written - time.time()
    if abs(apart) > _CLOCK_SECONDS:
        yield warn(
            "clock of run.dir",
            f"its file server's clock is {abs(apart):.1f} s {'ahead' if apart > 0 else 'behind'}",
            "Synchronise clocks (chrony, NTP): times of change tell what is new and who is alive.",
        )


def check_space(config: Config | None) -> Iterator[Row]:
    """Room for checkpoints, where the model's size stands in its files; the block cache; /tmp."""
    if config is not None:
        with suppress(ValueError):  # damaged weights are told elsewhere
            parameters = stored_parameters(config)
            if parameters is not None:
                yield space_row(config, parameters)
    cache = None if config is None else config.data.block_cache
    if cache is not None and cache.dir is not None:
        yield _cache_row(Path(cache.dir), parse_size(cache.max_bytes))
    yield from check_temporary(Path(tempfile.gettempdir()))


def space_row(config: Config, parameters: int) -> Row:
    """Free space where run folders go against what the run will write there."""
    folder = nearest(run_dir(config))
    free, needed = shutil.disk_usage(folder).free, run_bytes(config, parameters)
    found = (
        f"{in_words(free)} free in {folder}; {checkpoints_kept(config)} checkpoints of "
        f"{in_words(checkpoint_bytes(config, parameters))} and the model take "
        f"{in_words(needed)} ({parameters / 1e6:,.1f} M parameters)"
    )
    mend = "Free space, choose another run.dir, or lower train.checkpoint.keep_last."
    if free < needed:
        return fail("disk space", found, mend)
    return warn("disk space", found, mend) if free < _TIGHT * needed else ok("disk space", found)


def check_temporary(folder: Path) -> Iterator[Row]:
    """Ray's sessions and small files go to /tmp."""
    usage = shutil.disk_usage(folder)
    found = f"{in_words(usage.free)} free in {folder}"
    if usage.free < GB / 10:
        yield fail("temporary files", found, f"Free space in {folder}, or set TMPDIR.")
    elif usage.used > _RAY_REFUSES * (usage.used + usage.free):
        found += f", filled to more than {_RAY_REFUSES:.0%}: Ray would write no objects there"
        yield warn("temporary files", found, f"Free space in {folder}.")
    else:
        yield ok("temporary files", found)


def _cache_row(folder: Path, limit: int) -> Row:
    there = nearest(folder)
    held = sum(p.stat().st_size for p in folder.glob("*/*")) if folder.is_dir() else 0
    free = shutil.disk_usage(there).free + held
    found = f"{in_words(free)} for data.block_cache in {folder}, which may take {in_words(limit)}"
    if not os.access(there, os.W_OK):
        return fail("block cache", f"{there} cannot be written", "Choose data.block_cache.dir.")
    if free < limit:
        return warn("block cache", found, "Lower data.block_cache.max_bytes below what is free.")
    return ok("block cache", found)


def nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def _write(folder: Path) -> float:
    """Writes and renames a file; its time of change by the file system's clock."""
    first, last = folder / "written.tmp", folder / "written"
    with first.open("wb") as stream:
        stream.write(_BLOCK)
        stream.flush()
        os.fsync(stream.fileno())
    first.replace(last)
    return last.stat().st_mtime


def _locks(folder: Path) -> bool:
    try:
        with FileLock(folder / "lock", timeout=_LOCK_SECONDS):
            return True
    except (Timeout, NotImplementedError):
        return False
