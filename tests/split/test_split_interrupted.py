"""A split that is killed goes on where it was, and ends with the bytes of an undisturbed one."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support import commands
from support.pools import files

from dist_erase.config.source import SourceConfig
from dist_erase.data.build.digits import build_digits
from dist_erase.data.split.job import split_pool
from dist_erase.data.split.request import SplitRequest
from dist_erase.data.split.rules import SetRule, SplitOptions

SHARD_SIZE = 40


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("killed") / "digits"
    build_digits(out, size=16, shard_size=64)
    return out


def start(pool: Path, folder: Path, workers: int) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    words = ["data", "split", "out", f"{pool}/*/*.tar", "--forget-label", "7"]
    words += [
        "--shard-size",
        str(SHARD_SIZE),
        "--reserve-fraction",
        "0.1",
        "--workers",
        str(workers),
    ]
    return commands.start(*words, folder=folder)


def finish(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def parts(stage: Path, pattern: str) -> int:
    return len(list(stage.glob(pattern)))


def kill_when(process: subprocess.Popen, stage: Path, pattern: str, count: int) -> None:
    wait_for(process, stage, pattern, count)
    kill(process)


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def wait_for(process: subprocess.Popen, stage: Path, pattern: str, count: int) -> None:
    deadline = time.monotonic() + 100
    while parts(stage, pattern) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.integration
def test_killed_twice_and_continued_by_another_number_of_workers(pool, tmp_path):
    options = SplitOptions(
        forget=SetRule(labels=("7",)), reserve_fraction=0.1, shard_size=SHARD_SIZE
    )
    source = SourceConfig(shards=[f"{pool}/*/*.tar"])
    split_pool(SplitRequest(out=tmp_path / "whole", source=source, options=options))
    folder = tmp_path / "killed"
    stage = folder / ".out.split"
    process = start(pool, folder, 2)
    wait_for(process, stage, "survey-*/*.npz", 3)
    assert len(living_in(folder)) >= 3
    kill(process)
    wait_until_nobody_is_in(folder)  # its workers end with it
    surveyed = {path: path.stat().st_mtime_ns for path in stage.glob("survey-*/*.npz")}
    assert not (folder / "out").exists()
    kill_when(start(pool, folder, 0), stage, "sets-*/records/*/*.json", 4)
    assert {path: path.stat().st_mtime_ns for path in surveyed} == surveyed
    written = {path: path.stat().st_ino for path in stage.glob("sets-*/data/*/*.tar")}
    assert len(written) >= 4
    finish(start(pool, folder, 1))
    assert not stage.exists()
    names = {path.name for path in folder.iterdir()}
    assert names == {"out"}
    assert files(folder / "out") == files(tmp_path / "whole")
    kept = {path.stat().st_ino for path in (folder / "out").rglob("*.tar")}
    assert len(kept & set(written.values())) >= 4  # not written a second time


def wait_until_nobody_is_in(folder: Path) -> None:
    deadline = time.monotonic() + 30
    while left := living_in(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def living_in(folder: Path) -> list[str]:
    return [pid for pid in os.listdir("/proc") if in_folder(pid, folder)]


def in_folder(pid: str, folder: Path) -> bool:
    try:
        return pid.isdigit() and os.readlink(f"/proc/{pid}/cwd") == str(folder)
    except OSError:
        return False
