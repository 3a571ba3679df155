"""Real runs for tests: the command line as a user starts it, watched and killed from outside."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import load_file
from torch import Tensor

from support.ports import free_port

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TIMEOUT_SECONDS = 420
_STANDS_STILL_SECONDS = 2.0
_BUSY_SHARE = 0.3  # of one core, by all students; they look up four times a second
_WRITTEN_SECONDS = 3.0  # snapshots of metrics are written every second


@dataclass(frozen=True)
class Bench:
    """Where tests run: a configuration that fits the tiny model, and a Ray cluster."""

    config: Path
    runs: Path
    address: str

    def command(self, name: str, *overrides: str, deepspeed: int = 0) -> list[str]:
        """The command line of run `name`, by `dist-erase run` or with so many deepspeed ranks."""
        if not deepspeed:
            start = [str(BIN / "dist-erase"), "run", str(self.config)]
            overrides = (*overrides, f"ray.address={self.address}")
        else:
            launcher = ROOT / "launchers" / "deepspeed" / "unlearn.py"
            start = [str(BIN / "deepspeed"), "--num_accelerators", str(deepspeed)]
            start += ["--master_port", str(free_port())]  # other tests launch meanwhile
            start += [str(launcher), "--config", str(self.config)]
        return [*start, f"run.name={name}", *overrides]

    def start(
        self, name: str, *overrides: str, deepspeed: int = 0, **variables: str
    ) -> subprocess.Popen[str]:
        """Starts a run with these environment variables besides; its output is one stream."""
        environment = os.environ | {"DS_ACCELERATOR": "cpu"}
        environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
        environment |= variables
        return subprocess.Popen(
            self.command(name, *overrides, deepspeed=deepspeed),
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, name: str, *overrides: str, deepspeed: int = 0, expect: int = 0) -> str:
        """Runs to the end; AssertionError with all it said on another exit code."""
        return finish(self.start(name, *overrides, deepspeed=deepspeed), expect)

    def folder(self, name: str) -> Path:
        """The run folder."""
        return self.runs / name

    def cut(self, source: str, step: int, name: str) -> None:
        """Makes run `name` as `source` stood after its checkpoint of `step`."""
        folder = self.folder(name)
        (folder / "checkpoints").mkdir(parents=True)
        shutil.copy(self.folder(source) / "config.json", folder / "config.json")
        checkpoint = next((self.folder(source) / "checkpoints").glob(f"step-{step:08d}-*"))
        shutil.copytree(checkpoint, folder / "checkpoints" / checkpoint.name)
        stored = json.loads((folder / "config.json").read_text())
        stored["config"]["run"]["name"] = name
        (folder / "config.json").write_text(json.dumps(stored))


def finish(process: subprocess.Popen[str], expect: int = 0) -> str:
    """Waits; AssertionError with all it said on another exit code than `expect`."""
    output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == expect, f"exit code {process.returncode}\n{output}"
    return output


def rows(folder: Path) -> list[dict]:
    """The whole rows of metrics.jsonl so far."""
    path = folder / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def steps(folder: Path) -> dict[int, dict]:
    """Step rows by step; of a step done twice the last."""
    return {row["step"]: row for row in rows(folder) if "event" not in row}


def saved(folder: Path) -> list[int]:
    """Steps of the checkpoints, the oldest first."""
    return sorted(int(path.name.split("-")[1]) for path in folder.glob("checkpoints/step-*"))


def wait_for_step(folder: Path, step: int, process: subprocess.Popen[str]) -> None:
    """Waits until `step` is done."""

    def reached() -> bool:
        return max(steps(folder), default=0) >= step

    wait_until(reached, f"step {step} was not reached", process)


def kill_one(title: str) -> int:
    """SIGKILLs the newest process of the tests' own Ray whose title begins so; gives its pid."""
    pid = _newest(title)
    os.kill(pid, signal.SIGKILL)
    return pid


def kill_one_at_work(title: str, folder: Path, process: subprocess.Popen[str]) -> None:
    """The same, but it is held until the run of `folder` waits for it: so it dies in mid-work."""
    pid = _newest(title)
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: _students_wait(folder), "the run did not wait for it", process)
    os.kill(pid, signal.SIGKILL)


@contextmanager
def held(title: str) -> Iterator[None]:
    """Inside, all processes with such a title are stopped."""
    pids = [process.pid for process in _ours(title)]
    for pid in pids:
        with suppress(ProcessLookupError):  # gone since it was listed
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in filter(psutil.pid_exists, pids):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def held_when(
    ready: Callable[[], bool], title: str, folder: Path, process: subprocess.Popen[str]
) -> Iterator[None]:
    """The same after the first step from now on by which `ready` holds.

    It is asked while they are stopped: metrics are written down some time after their step, and
    what they tell may have happened after it.
    """
    while True:
        wait_for_step(folder, max(steps(folder)) + 1, process)
        with held(title):
            deadline = time.monotonic() + _WRITTEN_SECONDS
            while not ready() and time.monotonic() < deadline:
                time.sleep(0.1)
            if ready():
                yield
                return


def wait_until(
    ready: Callable[[], bool], otherwise: str, process: subprocess.Popen[str] | None = None
) -> None:
    """Until `ready` says so.

    AssertionError with `otherwise` and all that the process said if it does not, while there is
    time and the process runs.
    """
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        over = time.monotonic() > deadline or (process is not None and process.poll() is not None)
        if ready():
            return
        if over and process is not None:
            otherwise = f"{otherwise}\n{_last_words(process)}"
        assert not over, otherwise
        time.sleep(0.05)


def end(process: subprocess.Popen[Any]) -> None:
    """Kills it, if it is still there, and its children, at once."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait()


def _last_words(process: subprocess.Popen[str]) -> str:
    """All that it said; its children end with it, since they keep the pipe open."""
    end(process)
    with suppress(subprocess.TimeoutExpired):
        return process.communicate(timeout=30)[0]
    return "(its output does not end)"


def counted(folder: Path, family: str) -> float:
    """The sum of a metric over all processes of the run, by what each left last."""
    lines = [
        line
        for snapshot in (folder / "metrics").glob("*.prom")
        for line in snapshot.read_text().splitlines()
    ]
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"{family}{{"))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content; the index cache and locks left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".index" not in path.parts and path.suffix != ".lock"
    }


def weights(folder: Path) -> dict[str, Tensor]:
    """The exported model's tensors."""
    return load_file(folder / "model" / "open_clip_model.safetensors")


def assert_same_weights(one: Path, other: Path) -> None:
    """Bit by bit; AssertionError that names the tensors that differ."""
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def largest_difference(one: Path, other: Path) -> float:
    """Of any two elements of the exported models."""
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def _students_wait(folder: Path) -> bool:
    """Whether no step ends for a while, and not because they compute or measure."""
    known, spent, began = len(rows(folder)), _students_cpu_seconds(), time.monotonic()
    time.sleep(_STANDS_STILL_SECONDS)
    busy = (_students_cpu_seconds() - spent) / (time.monotonic() - began)
    return len(rows(folder)) == known and busy < _BUSY_SHARE


def _students_cpu_seconds() -> float:
    spent = 0.0
    for process in _ours("ray::RayTrainWorker"):
        with suppress(psutil.NoSuchProcess):
            spent += sum(process.cpu_times()[:2])
    return spent


def _newest(title: str) -> int:
    return max(_ours(title), key=psutil.Process.create_time).pid


def _ours(title: str) -> list[psutil.Process]:
    """Children of the tests' own Ray, never of another one on this machine."""
    children = psutil.Process().children(recursive=True)
    return [process for process in children if _title(process).startswith(title)]


def _title(process: psutil.Process) -> str:
    try:
        return (process.cmdline() or [""])[0]
    except psutil.NoSuchProcess:  # gone since it was listed
        return ""
