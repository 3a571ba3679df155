"""Cores of this machine that nobody uses, within the limits of this process."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path

import psutil

_WINDOW_SECONDS = 10.0


class IdleCores:
    """Measures idle cores between calls, over about the last ten seconds.

    Other processes of the machine count as using its cores; the limits are the CPUs this process
    may run on and, in a container, the quota of its control group (version 2).

    Args:
        cgroup: folder of the control group's `cpu.max` and `cpu.stat`, where there is one.
    """

    def __init__(self, cgroup: Path = Path("/sys/fs/cgroup")) -> None:
        self._cgroup = cgroup
        # (time, idle seconds of our CPUs so far, seconds used by our control group so far)
        self._marks: deque[tuple[float, float, float]] = deque([self._mark()])

    def read(self) -> float | None:
        """Idle cores; None before any time has passed."""
        now = self._mark()
        while len(self._marks) > 1 and now[0] - self._marks[1][0] >= _WINDOW_SECONDS:
            self._marks.popleft()
        then, before_idle, before_used = self._marks[0]
        self._marks.append(now)
        seconds = now[0] - then
        if seconds <= 0:
            return None
        idle = max(0.0, (now[1] - before_idle) / seconds)
        quota = self._quota()
        if quota is not None:
            idle = min(idle, max(0.0, quota - (now[2] - before_used) / seconds))
        return idle

    def _mark(self) -> tuple[float, float, float]:
        ours = psutil.Process().cpu_affinity()
        times = psutil.cpu_times(percpu=True)
        idle = sum(cpu.idle + cpu.iowait for i, cpu in enumerate(times) if i in ours)
        return time.monotonic(), idle, self._used()

    def _quota(self) -> float | None:
        try:
            quota, period = (self._cgroup / "cpu.max").read_text().split()
        except (OSError, ValueError):
            return None
        return None if quota == "max" else float(quota) / float(period)

    def _used(self) -> float:
        try:
            text = (self._cgroup / "cpu.stat").read_text()
        except OSError:
            return 0.0
        stat = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)
        return float(stat.get("usage_usec", 0)) / 1e6
