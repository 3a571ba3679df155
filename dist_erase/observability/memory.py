"""Memory of this process and of the machine or container that it runs in."""

from __future__ import annotations

from pathlib import Path

import psutil

from dist_erase.observability.emit import Metrics

_CGROUP = Path("/sys/fs/cgroup")


def record_memory(metrics: Metrics) -> None:
    """Sets `resident_memory_bytes` and `host_memory_bytes`; takes some 0.1 ms."""
    metrics.resident_memory_bytes.set(psutil.Process().memory_info().rss)
    used, limit = host_memory()
    metrics.host_memory_bytes.set(used, "used")
    metrics.host_memory_bytes.set(limit, "limit")


def host_memory(cgroup: Path = _CGROUP) -> tuple[int, int]:
    """Bytes in use, and at most: of the container if it has a limit, else of the machine.

    What the kernel would give back at once (file cache) is not in use.

    Args:
        cgroup: where control groups (version 2) are mounted; inside a container, its own.
    """
    machine = psutil.virtual_memory()
    limit = _number(cgroup / "memory.max")
    held = _number(cgroup / "memory.current")
    if limit is None or held is None or limit >= machine.total:
        return machine.total - machine.available, machine.total
    return max(0, held - _inactive_file(cgroup)), limit


def _number(path: Path) -> int | None:
    """The number in a file; None without one, or for "max"."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _inactive_file(cgroup: Path) -> int:
    try:
        lines = (cgroup / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
