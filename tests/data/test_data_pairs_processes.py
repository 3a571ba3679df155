"""The data workers as processes: how they start, and that none is left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

Shards = Callable[..., str]

SCRIPT = """
import multiprocessing, sys, time
sys.path.insert(0, {tests!r})
from dist_erase.batch import ImageSpec
from dist_erase.data.pairs import PairStream
from support.pair_streams import characters, plan
print("imported", flush=True)  # no guard: run twice, this would start workers without end
stream = PairStream(
    retain=plan({pattern!r}, "retain", 4), tokenizer=characters, seed=0, workers=2,
    image=ImageSpec(height=8, width=8, mean=(0.0,) * 3, std=(1.0,) * 3),
)
next(stream)
print(*[child.pid for child in multiprocessing.active_children()], flush=True)
if {close}:
    stream.close()
    print(len(multiprocessing.active_children()), __spec__, __file__, flush=True)
else:
    time.sleep(60)
"""


def start(tmp_path: Path, pattern: str, close: bool) -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    tests = str(Path(__file__).parents[1])
    script.write_text(SCRIPT.format(tests=tests, pattern=pattern, close=close))
    with (tmp_path / "stderr").open("w") as stderr:
        return subprocess.Popen(
            [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=stderr, text=True
        )


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_workers_start_without_running_main_again_and_end_when_closed(
    shards: Shards, tmp_path: Path
) -> None:
    process = start(tmp_path, shards([20]), close=True)
    out, _ = process.communicate(timeout=60)
    imported, _, ended = out.splitlines()
    assert imported == "imported"
    assert ended == f"0 None {tmp_path}/script.py"
    assert process.returncode == 0


def test_workers_do_not_outlive_a_killed_rank(shards: Shards, tmp_path: Path) -> None:
    process = start(tmp_path, shards([20]), close=False)
    assert process.stdout is not None
    process.stdout.readline()
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(workers) == 2
    assert all(alive(pid) for pid in workers)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < deadline, "data workers live on after their rank was killed"
        time.sleep(0.05)
