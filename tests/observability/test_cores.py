"""Idle cores of this very machine, and those of a container with a quota."""

import os
import subprocess
import sys
import time

import pytest

from dist_erase.observability.cores import IdleCores


def cgroup(folder, quota, used_seconds):
    folder.mkdir(exist_ok=True)
    (folder / "cpu.max").write_text(f"{quota} 100000\n")
    (folder / "cpu.stat").write_text(f"usage_usec {int(used_seconds * 1e6)}\nuser_usec 5\n")
    return folder


def measured(cores):
    time.sleep(0.3)
    return cores.read()


def test_idle_cores_lie_within_what_this_process_may_use(tmp_path):
    idle = measured(IdleCores(tmp_path / "none"))
    assert 0.0 <= idle <= len(os.sched_getaffinity(0)) + 0.5  # ticks of 10 ms


def test_busy_cores_are_not_idle(tmp_path):
    spin = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(spin) for _ in os.sched_getaffinity(0)]
    try:
        time.sleep(0.2)
        assert measured(IdleCores(tmp_path / "none")) < 0.3
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_a_quota_bounds_them(tmp_path):
    cores = IdleCores(cgroup(tmp_path / "cg", 20000, 100.0))  # a fifth of a core
    assert measured(cores) <= 0.2
    cgroup(tmp_path / "cg", 20000, 200.0)  # more than the quota allows: nothing is left
    assert measured(cores) == 0.0


def test_without_a_quota_the_group_bounds_nothing(tmp_path):
    free, bound = IdleCores(tmp_path / "none"), IdleCores(cgroup(tmp_path / "cg", "max", 0.0))
    cgroup(tmp_path / "cg", "max", 1e6)
    time.sleep(0.3)
    assert bound.read() == pytest.approx(free.read(), abs=0.2)
