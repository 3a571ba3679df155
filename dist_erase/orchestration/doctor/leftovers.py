"""What dead jobs leave behind: processes, shared memory, Ray's note of a cluster that is gone."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from dist_erase.orchestration.doctor.needs import in_words
from dist_erase.orchestration.doctor.row import Row, ok, warn

CURRENT_CLUSTER = Path("/tmp/ray/ray_current_cluster")
_LISTED = 10
_GRACE_SECONDS = 30.0  # a segment that is being made is not mapped for a moment
_KNOCK_SECONDS = 2.0
# Processes that adopt orphans.
_INITS = {"systemd", "init", "tini", "docker-init", "dumb-init", "catatonit", "s6-svscan"}
_DRIVER = re.compile(r"dist[-_]erase|unlearn\.py|deepspeed|torchrun|raylet|ray::|ray start|pytest")
# Names that torch, Python, DeepSpeed's op and NCCL give to segments.
_SEGMENTS = re.compile(r"(torch_|psm_|deepspeed_|nccl-)")


def check_processes_left() -> Iterator[Row]:
    """Ranks, teacher replicas and data workers whose driver is gone."""
    left = [(kind, process.pid) for process in psutil.process_iter() if (kind := _orphan(process))]
    if not left:
        yield ok("processes left over", "none")
        return
    kinds = ", ".join(f"{kind} {pid}" for kind, pid in left[:_LISTED])
    more = f" and {len(left) - _LISTED} more" if len(left) > _LISTED else ""
    yield warn(
        "processes left over",
        f"{len(left)} whose driver is gone: {kinds}{more}",
        f"If they are of no run: kill {' '.join(str(pid) for _, pid in left)}",
    )


def check_segments_left(folder: Path = Path("/dev/shm")) -> Iterator[Row]:
    """Shared memory of this user that no process has mapped."""
    mine = [
        entry
        for entry in os.scandir(folder)
        if _SEGMENTS.match(entry.name)
        and entry.stat().st_uid == os.getuid()
        and time.time() - entry.stat().st_mtime > _GRACE_SECONDS
    ]
    held = _mapped() if mine else set()
    left = [entry for entry in mine if str(folder / entry.name) not in held]
    if not left:
        yield ok("shared memory left over", "none")
        return
    size = sum(entry.stat().st_size for entry in left)
    names = " ".join(str(folder / entry.name) for entry in left[:_LISTED])
    yield warn(
        "shared memory left over",
        f"{len(left)} segments ({in_words(size)}) that no process uses",
        f"Remove them: rm {names}{' …' if len(left) > _LISTED else ''}",
    )


def check_noted_cluster(note: Path = CURRENT_CLUSTER) -> Iterator[Row]:
    """The cluster that `ray.address: auto` would look for."""
    if not note.exists():
        return
    address = note.read_text(encoding="utf-8").strip()
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()
    except (OSError, ValueError):
        yield warn(
            "noted Ray cluster",
            f"{note} names {address}, where nobody answers",
            f"If that cluster is gone: rm {note}",
        )
    else:
        yield ok("noted Ray cluster", f"{address} answers")


def _orphan(process: psutil.Process) -> str | None:
    """What it is, if nobody who would end it is left above it."""
    try:
        words = process.cmdline()
        kind = _kind(process, words)
        if kind is None or process.status() == psutil.STATUS_ZOMBIE:
            return None
        above = process.parent()
        while above is not None and _kind(above, above.cmdline()) is not None:
            above = above.parent()  # the server that data workers are forked from
        if above is None:
            return kind
        adopted = above.pid == 1 or above.name() in _INITS
        return kind if adopted and not _DRIVER.search(" ".join(above.cmdline())) else None
    except psutil.Error:  # gone meanwhile, or somebody else's
        return None


def _kind(process: psutil.Process, words: list[str]) -> str | None:
    line = " ".join(words)
    if line.startswith("ray::"):
        return "teacher replica" if "TeacherReplica" in line else "Ray worker"
    if "multiprocessing.forkserver" in line and "dist_erase." in line:
        return "data worker"
    ours = "deepspeed_entry" in line or "launchers/deepspeed/unlearn.py" in line
    if ours and "LOCAL_RANK" in process.environ():
        return "rank"
    return None


def _mapped() -> set[str]:
    """Files that processes have mapped or open, as far as this user may look."""
    found: set[str] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            lines = maps.read_text(errors="replace").splitlines()
            found |= {line.split(maxsplit=5)[5] for line in lines if "/dev/shm/" in line}
            found |= {os.readlink(fd) for fd in (maps.parent / "fd").iterdir()}
        except (OSError, IndexError):
            continue
    return found
