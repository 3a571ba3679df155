"""`dist-erase stop` on a job that is at work and has no run so far; no Ray is started for that."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ray.job_submission import JobDetails, JobStatus, JobType

from dist_erase.errors import UserError
from dist_erase.orchestration.jobs.command import FOLDER, PYTHON, RUN
from dist_erase.orchestration.jobs.stop import stop


class Processes:
    """Jobs as processes of this machine, by those calls of Ray's client that `stop` makes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.jobs: dict[str, tuple[subprocess.Popen[bytes], dict[str, str]]] = {}
        self.stopped: set[str] = set()

    def submit_job(
        self,
        *,
        entrypoint: str,
        submission_id: str,
        runtime_env: dict[str, Any] | None = None,
        metadata: dict[str, str] | None = None,
    ) -> str:
        folder = self.home / submission_id  # a package is read while the job is handed in
        shutil.copytree((runtime_env or {}).get("working_dir", self.home / "nothing"), folder)
        process = subprocess.Popen(shlex.split(entrypoint), cwd=folder)
        self.jobs[submission_id] = (process, metadata or {})
        return submission_id

    def get_job_status(self, name: str) -> JobStatus:
        code = self.jobs[name][0].poll()
        if code is None:
            return JobStatus.RUNNING
        if name in self.stopped:
            return JobStatus.STOPPED
        return JobStatus.FAILED if code else JobStatus.SUCCEEDED

    def get_job_info(self, name: str) -> JobDetails:
        process, metadata = self.jobs[name]
        return JobDetails(
            type=JobType.SUBMISSION,
            submission_id=name,
            status=self.get_job_status(name),
            entrypoint="",
            metadata=metadata,
            driver_exit_code=process.poll(),
        )

    def stop_job(self, name: str) -> bool:
        process = self.jobs[name][0]
        if process.poll() is not None:
            return False
        self.stopped.add(name)
        process.terminate()
        process.wait(10)
        return True

    def delete_job(self, name: str) -> None:
        del self.jobs[name]

    def end(self) -> None:
        for process, _ in self.jobs.values():
            process.kill()
            process.wait(10)


@pytest.fixture
def client(tmp_path):
    (tmp_path / "jobs" / "nothing").mkdir(parents=True)
    processes = Processes(tmp_path / "jobs")
    yield processes
    processes.end()


@pytest.fixture
def run(tmp_path) -> Path:
    """Where the run will be; what its driver has made so far is the index beside it."""
    (tmp_path / "runs" / ".index").mkdir(parents=True)
    return tmp_path / "runs" / "seven"


def at_work(client: Processes, run: Path, command: str) -> JobDetails:
    marks = {RUN: run.name, FOLDER: str(run), PYTHON: sys.executable}
    client.submit_job(entrypoint=command, submission_id="job-1", metadata=marks)
    return client.get_job_info("job-1")


def test_a_driver_that_has_made_no_run_yet_is_ended_at_once(client, run):
    job = at_work(client, run, "sleep 300")
    end = stop(client, job, now=False, seconds=60, reason="a test", note=print)
    assert end.exit_code == 130
    assert end.message == "ended before the run had begun; there was nothing to save"
    assert not run.exists()
    assert list(client.jobs) == ["job-1"]  # the request leaves no job behind


def test_a_run_that_does_not_answer_in_time_is_an_error(client, run):
    run.mkdir()
    (run / "config.json").write_text("{}")
    job = at_work(client, run, "sleep 300")
    with pytest.raises(UserError, match="wrote no checkpoint in 1 s and was ended without one"):
        stop(client, job, now=False, seconds=1, reason="a test", note=print)
