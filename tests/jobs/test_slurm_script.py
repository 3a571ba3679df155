"""The SLURM script with a real Ray: only SLURM's own commands are stand-ins, for one node."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.heads import kept_current_cluster
from support.ports import free_port
from support.runs import BIN, ROOT, rows, saved, steps, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.operations]
LONG = ("ray.workers=1", "train.epochs=1000", "train.max_steps=3000")
LONG += ("train.checkpoint.every_steps=1000",)
SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""
SCONTROL = """#!/usr/bin/env bash
if [ "$1" = show ]; then hostname; else echo "$@" >>"$SCONTROL_LOG"; fi
"""


@pytest.fixture
def slurm(tmp_path) -> Iterator[dict[str, str]]:
    """The environment of a job of one node."""
    short = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # socket paths must be short
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    path = os.pathsep.join([str(tmp_path / "bin"), str(BIN), os.environ["PATH"]])
    yield os.environ | {
        "PATH": path,
        "SLURM_JOB_ID": "17",
        "SLURM_JOB_NODELIST": "here",
        "SCONTROL_LOG": str(tmp_path / "scontrol.log"),
        "RAY_PORT": str(free_port()),
        "RAY_DASHBOARD_PORT": str(free_port()),
        "RAY_TMPDIR": short,
        "DS_ACCELERATOR": "cpu",
    }
    shutil.rmtree(short, ignore_errors=True)


def test_a_run_that_is_told_to_end_is_queued_again_with_a_checkpoint(home, slurm, tmp_path):
    folder = home / "runs" / "slurm"
    script = ROOT / "launchers/ray/slurm/ray.sbatch"
    with kept_current_cluster(), (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [script, "erase.yaml", "run.name=slurm", *LONG],
            cwd=home,
            env=slurm | {"SLURM_SUBMIT_DIR": str(home)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            said = (tmp_path / "log").read_text
            wait_until(
                lambda: len(steps(folder)) >= 3 or process.poll() is not None, "no step was done"
            )
            assert process.poll() is None, said()
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 75, said()
        finally:
            end_session(process.pid)
    assert (tmp_path / "scontrol.log").read_text() == "requeue 17\n"
    last = max(steps(folder))
    assert f"stopped at step {last} by SIGTERM; `dist-erase run ... --resume` goes on" in said()
    assert saved(folder) == [last]
    assert [row for row in rows(folder) if row.get("event") == "interrupted"]
    assert json.loads((folder / "end.json").read_text())["exit_code"] == 75
    token = home / ".ray-slurm/17/token"
    assert token.stat().st_mode & 0o077 == 0
    assert f"RAY_AUTH_TOKEN_PATH={token}" in said()
    assert token.read_text() not in said()


def end_session(session: int) -> None:
    """What SLURM does at the end of a job: no process of it stays."""
    family = set()
    for process in psutil.process_iter():
        if _session(process) == session:
            with suppress(psutil.NoSuchProcess):  # many end by themselves meanwhile
                family |= {process, *process.children(recursive=True)}
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(list(family), timeout=10)


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except OSError:
        return None


def test_a_folder_that_is_not_sbatchs_is_refused(tmp_path):
    environment = {name: v for name, v in os.environ.items() if not name.startswith("SLURM")}
    script: Path = ROOT / "launchers/ray/slurm/ray.sbatch"
    done = subprocess.run([script], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "start this with sbatch" in done.stderr
