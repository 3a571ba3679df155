"""Limits of the operating system: files, processes, memory, shared memory."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import psutil

from dist_erase.config.run import RunConfig
from dist_erase.orchestration.doctor.needs import GB, Config, has_gpu, image_bytes, in_words
from dist_erase.orchestration.doctor.row import Row, fail, ok, warn

_FILES_NEEDED, _FILES_WISHED = 512, 4096
_PROCESSES_NEEDED = 128
_PROCESS_BYTES = GB  # torch, open_clip, DeepSpeed and Ray once imported
_OP_BYTES = 66 * 2**20  # of DeepSpeed's op, for each rank of a machine without GPU
_RAY_SHM_WISHED = GB  # below, Ray's object store goes to the disk
_CGROUP = Path("/sys/fs/cgroup")


def check_files() -> Iterator[Row]:
    """How many files and sockets a process may hold open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    has = "any number" if soft == resource.RLIM_INFINITY else f"{soft:,}"
    found = f"{has} open files allowed to a process (ulimit -n)"
    mend = f"Raise it before the start: ulimit -n {max(65536, _FILES_WISHED)}"
    if hard not in (resource.RLIM_INFINITY,) and hard < _FILES_WISHED:
        mend += f"; the hard limit is {hard:,}, which only root raises (limits.conf, LimitNOFILE)"
    if soft != resource.RLIM_INFINITY and soft < _FILES_NEEDED:
        yield fail("file limit", found, f"{mend}.")
    elif soft != resource.RLIM_INFINITY and soft < _FILES_WISHED:
        yield warn("file limit", f"{found}; many shards, workers or nodes need more", f"{mend}.")
    else:
        yield ok("file limit", found)


def check_processes(cgroup: Path = _CGROUP) -> Iterator[Row]:
    """How many more processes and threads may be started: by the user, and in the container."""
    left = []
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft != resource.RLIM_INFINITY and os.getuid() != 0:  # root is not counted
        left.append(soft - _threads_of(os.getuid()))
    most, held = _number(cgroup / "pids.max"), _number(cgroup / "pids.current")
    if most is not None and held is not None:
        left.append(most - held)
    if not left:
        yield ok("process limit", "none")
    elif min(left) < _PROCESSES_NEEDED:
        yield fail(
            "process limit",
            f"only {max(0, min(left)):,} more processes and threads may be started here",
            "Raise ulimit -u, or the container's limit (docker run --pids-limit).",
        )
    else:
        yield ok("process limit", f"{min(left):,} more processes and threads may be started")


def check_memory(config: Config | None, cgroup: Path = _CGROUP) -> Iterator[Row]:
    """Memory for the processes of an embedded run; elsewhere only what there is."""
    available = psutil.virtual_memory().available
    most, held = _number(cgroup / "memory.max"), _number(cgroup / "memory.current")
    if most is not None and held is not None:
        # What the page cache holds is given back when it is needed.
        available = min(available, most - held + _file_cache(cgroup))
    processes = _processes_here(config)
    found = f"{in_words(available)} available"
    if processes * _PROCESS_BYTES > available:
        yield warn(
            "memory",
            f"{found}; {processes} processes of the run take about "
            f"{in_words(processes * _PROCESS_BYTES)} before the first step",
            "Lower ray.workers or teacher.replicas, use teacher.kind=local, or free memory.",
        )
    else:
        yield ok("memory", found)


def check_shared_memory(
    config: Config | None, *, folder: Path = Path("/dev/shm"), gpu: bool | None = None
) -> Iterator[Row]:
    """Room in /dev/shm, where data workers hand over images, DeepSpeed's op and Ray work."""
    space = os.statvfs(folder)
    free, total = space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize
    needed = shared_bytes(config, has_gpu() if gpu is None else gpu)
    found = f"{in_words(free)} free of {in_words(total)} in {folder}"
    mend = (
        "Give it more room: mount -o remount,size=8G /dev/shm, docker run --shm-size=8g, or an "
        "emptyDir with medium: Memory."
    )
    if free < needed:
        yield fail("shared memory", f"{found}; the run needs about {in_words(needed)} there", mend)
    elif free < needed + _RAY_SHM_WISHED:
        found += "; Ray's object store would go to the disk, which is slow"
        yield warn("shared memory", found, mend)
    else:
        yield ok("shared memory", f"{found}; the run needs about {in_words(needed)} there")


def shared_bytes(config: Config | None, gpu: bool) -> int:
    """What the whole run holds in shared memory beside Ray's object store, if on one machine."""
    if config is None:
        return 0
    ranks = config.ray.workers if isinstance(config, RunConfig) else 1
    return image_bytes(config) + (0 if gpu else ranks * _OP_BYTES)


def _processes_here(config: Config | None) -> int:
    """Of a run whose cluster is embedded, and so on this machine; 0 of another."""
    if not isinstance(config, RunConfig):
        return 0 if config is None else 1
    if config.ray.address != "local":
        return 0
    return config.ray.workers + (config.teacher.replicas if config.teacher.kind == "pool" else 0)


def _threads_of(uid: int) -> int:
    total = 0
    for process in psutil.process_iter():
        try:
            if process.uids().real == uid:
                total += process.num_threads()
        except psutil.Error:
            continue
    return total


def _number(path: Path) -> int | None:
    """The number in a file of the cgroup; None if it says `max`, or is not there."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _file_cache(cgroup: Path) -> int:
    try:
        lines = (cgroup / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(n) for name, n in map(str.split, lines) if name == "inactive_file")
