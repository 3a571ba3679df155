"""One run on a real cluster: submitted, watched, stopped, resumed, the line cut all the while."""

import json
import os
import shlex
import subprocess
import time
from pathlib import Path

import pytest
from ray.job_submission import JobSubmissionClient
from support.runs import BIN, counted, held, largest_difference, rows, steps, wait_until

from dist_erase.orchestration.jobs.command import FOLDER, RUN
from dist_erase.orchestration.run_folder import STOP

pytestmark = [pytest.mark.integration, pytest.mark.operations]


@pytest.fixture(scope="module")
def client(head):
    return JobSubmissionClient(head.url)


@pytest.fixture(scope="module")
def stopped(station) -> tuple[str, str, str]:
    """A run that was stopped in its middle: job id, what `submit` and what `stop` said.

    Its ranks stand still from step 3 until they are asked to stop. Until the run has ended, no
    answer on how its job stands gets through to `stop`.
    """
    job, said = station.run("submit", "erase.yaml", "--no-wait")
    job = job.strip()
    folder = station.runs / "seven"
    wait_until(lambda: len(steps(folder)) >= 3, "no step was done")
    with station.proxy.losing_the_answer_to(f"GET /api/jobs/{job} ".encode()):
        with held("ray::RayTrainWorker"):
            process = station.start("stop", "seven", "--reason", "a test", "--timeout", "120")
            wait_until(
                lambda: (folder / STOP).exists() or process.poll() is not None, "no one asked"
            )
        wait_until(
            lambda: (folder / "end.json").exists() or process.poll() is not None,
            "the run was not stopped",
        )
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, f"{process.returncode}\n{out}\n{err}"
    assert station.proxy.cuts >= 1
    return job, said, out + err


@pytest.fixture(scope="module")
def resumed(station, stopped) -> tuple[str, str, int]:
    """The same run, taken up on one worker and done, its follower cut off every two seconds.

    The first connection that is cut is that on which Ray says that it took the job.
    """
    before = station.proxy.cuts
    with station.proxy.losing_the_answer_to(b"POST /api/jobs/ "):
        process = station.start("submit", "erase.yaml", "ray.workers=1", "--resume-or-start")
        wait_until(
            lambda: station.proxy.cuts > before or process.poll() is not None,
            "no job was handed in",
        )
    cuts = 0
    while process.poll() is None:
        time.sleep(2)
        cuts += station.proxy.cut()
    out, err = process.communicate()
    assert process.returncode == 0, f"{process.returncode}\n{out}\n{err}"
    return out, err, cuts


def test_what_travels_is_said_and_the_open_cluster_is_warned_about(stopped):
    job, said, _ = stopped
    assert "package: " in said
    assert "MiB in " in said
    assert "asks for no token: everyone who reaches it can run code there" in said
    assert f"dist-erase stop {job}" in said


def test_stop_waits_for_a_checkpoint(station, stopped):
    job, _, said = stopped
    assert f"{job}: interrupted with a checkpoint; continue with --resume" in said
    folder = station.runs / "seven"
    last = max(steps(folder))
    assert last < 16
    assert list((folder / "checkpoints").glob(f"step-{last:08d}-*"))
    assert not (folder / "model").exists()
    assert counted(folder, "dist_erase_checkpoints_total") >= 1
    assert json.loads((folder / "end.json").read_text())["exit_code"] == 75


def test_the_request_leaves_no_job_behind(client, stopped):
    assert [
        job.submission_id for job in client.list_jobs() if "stop" in (job.entrypoint or "")
    ] == []


def test_files_that_came_with_the_job_are_kept_beside_the_run(station, stopped):
    config = json.loads((station.runs / "seven/config.json").read_text())["config"]
    for path in (config["model"]["architecture"], config["data"]["classes"]):
        assert Path(path).is_relative_to(station.runs / ".inputs")
        assert Path(path).is_file()
    assert config["ray"]["address"] == "auto"


def test_a_lost_stream_loses_and_repeats_nothing(station, client, resumed):
    out, err, cuts = resumed
    assert cuts >= 3
    job = next(line.split()[1] for line in err.splitlines() if line.startswith("job: "))
    assert out == client.get_job_logs(job)
    assert "Running entrypoint for job" in out
    assert f"{job}: done" in err


def test_on_one_worker_the_run_goes_on_to_the_weights_of_two(station, resumed, light_reference):
    """Undisturbed by the deepspeed launcher; SGD, since Adam turns noise into steps."""
    folder = station.runs / "seven"
    starts = [row["message"] for row in rows(folder) if row.get("event") == "start"]
    assert ["world size 2" in starts[0], "world size 1" in starts[1]] == [True, True]
    assert largest_difference(folder, light_reference) <= 1e-6


def test_the_resumed_run_went_on_where_it_was_stopped(station, resumed):
    folder = station.runs / "seven"
    done = [row["step"] for row in rows(folder) if "event" not in row]
    assert done == list(range(1, 17))
    assert (folder / "model").is_dir()
    assert json.loads((folder / "end.json").read_text())["exit_code"] == 0


def test_what_is_done_is_not_done_again(station, resumed):
    before = sorted((station.runs / "seven").rglob("*"))
    out, _ = station.run("submit", "erase.yaml", "--resume-or-start")
    assert "this run has ended before: done" in out
    assert sorted((station.runs / "seven").rglob("*")) == before


def test_status_says_how_each_job_stands(station, stopped, resumed):
    found = json.loads(station.run("status", "--json")[0])
    mine = {one["job"]: one for one in found if one["run"] == "seven"}
    assert mine[stopped[0]]["exit_code"] == 75
    assert mine[stopped[0]]["status"] == "failed"
    assert max(mine.values(), key=lambda one: one["started"])["exit_code"] == 0
    (one,) = json.loads(station.run("status", stopped[0], "--json")[0])
    assert one == mine[stopped[0]]
    table, _ = station.run("status")
    assert stopped[0] in table
    assert "interrupted with a checkpoint" in table


def test_logs_of_a_run_are_those_of_its_newest_job(station, client, resumed):
    out, _ = station.run(
        "logs", stopped_job := json.loads(station.run("status", "--json")[0])[0]["job"]
    )
    assert out == client.get_job_logs(stopped_job)


def test_an_unknown_job_is_refused_with_the_one_that_was_meant(station, stopped):
    _, err = station.run("logs", "sevne", expect=2)
    assert "sevne: is no job or run that was submitted to this cluster" in err
    assert "Did you mean seven?" in err


def test_a_job_that_waits_for_a_place_is_ended_without_a_request(station, client, tmp_path):
    """Nothing of it is there to be saved, not even the folder for its runs."""
    metadata = {RUN: "pending", FOLDER: str(tmp_path / "runs" / "pending")}
    job = client.submit_job(
        entrypoint="true", metadata=metadata, entrypoint_resources={"nowhere": 1}
    )
    try:
        out, err = station.run("stop", job)
        assert "waits for a place; Ray ends it as soon as it has one" in out
        assert "asked for a checkpoint" not in err
    finally:
        client.stop_job(job)


def test_the_plain_line_does_the_same(station, stopped, tmp_path):
    """Printed by --dry-run, run as it stands; what the run says is the user's to mend."""
    bad = ["run.name=bad", "data.forget.shards=/nowhere/a.tar"]
    package = ["--package", str(tmp_path / "package")]
    line, _ = station.run("submit", "erase.yaml", *bad, "--dry-run", *package)
    done = by_hand(shlex.split(line))
    assert done.returncode == 1  # Ray's own command knows no other
    assert "data.forget.shards: " in done.stdout
    assert "/nowhere/a.tar" in done.stdout
    _, err = station.run("submit", "erase.yaml", *bad, "--wait", expect=2)
    assert "ended by something that you can mend" in err


def test_the_code_that_runs_is_what_travelled(station, stopped, tmp_path):
    """Not that of the nodes' environment, which has dist_erase too."""
    package = ["--package", str(tmp_path / "package")]
    line, _ = station.run("submit", "erase.yaml", "--dry-run", *package)
    words = shlex.split(line)
    job = words[words.index("--submission-id") + 1]
    words[words.index(job)] = f"{job}-where"
    ask = "import dist_erase; print(dist_erase.__file__)"
    said = by_hand([*words[: words.index("--") + 1], "python", "-c", ask]).stdout
    assert "/working_dir_files/" in said


def by_hand(words):
    return subprocess.run(
        [str(BIN / words[0]), *words[1:]],
        env=os.environ | {"RAY_ADDRESS": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
