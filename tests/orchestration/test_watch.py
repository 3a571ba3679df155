"""`dist-erase watch` as a user starts it, on run folders that grow and exporters that vanish."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import bcrypt
import pytest
import yaml
from support.run_rows import CHECKPOINT, EVALUATION, row
from support.scraped import RUN, RunMetrics
from support.web import web_server

from dist_erase.observability.exporter import Exposure, RunExporter

WATCH = [str(Path(sys.executable).parent / "dist-erase"), "watch"]


class Run:
    """A run folder, filled by hand as a run fills it."""

    def __init__(self, runs: Path) -> None:
        self.folder = runs / RUN
        self.metrics = RunMetrics(self.folder / "metrics")
        stop = {"forget_top1_below": 0.05, "forget_recall_below": None, "retain_drop_above": None}
        (self.folder / "config.json").write_text(json.dumps({"config": {"stop": stop}}))

    def append(self, *rows: dict) -> None:
        with (self.folder / "metrics.jsonl").open("a") as stream:
            stream.writelines(json.dumps(one) + "\n" for one in rows)

    def end(self, exit_code: int, message: str) -> None:
        left = {"exit_code": exit_code, "message": message, "time": time.time()}
        (self.folder / "end.json").write_text(json.dumps(left))


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "runs")


@pytest.fixture
def watch(tmp_path):
    """Starts `dist-erase watch` in tmp_path; ends what is left."""
    started = []

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*WATCH, *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ended(process, *, within=20.0):
    out, err = process.communicate(timeout=within)
    return process.returncode, out, err


def lines_until(process, wanted):
    """JSON lines up to the first that `wanted` is true of; the test's time-out bounds it."""
    lines = []
    for text in process.stdout:
        lines.append(json.loads(text))
        if wanted(lines[-1]):
            return lines
    raise AssertionError(f"it ended: {lines}\n{process.communicate()[1]}")


def test_a_growing_run_is_followed_to_its_end(run, watch):
    run.append(row(1), CHECKPOINT)
    process = watch(RUN, "--json")
    first = lines_until(process, lambda line: line["kind"] == "state")
    assert first[-1]["step"] == 1
    run.append(row(2), EVALUATION, row(3))
    seen = lines_until(process, lambda line: line.get("step") == 3)
    assert [(line["kind"], line["step"]) for line in seen] == [
        ("state", 2),
        ("event", 2),
        ("state", 3),
    ]
    assert seen[-1]["found"]["forget"]["top1"]["met"] is False
    run.append(row(4))
    run.end(3, "goal missed: forget top-1 is 12.0%, goal below 5.0%")
    code, out, err = ended(process)
    last = [json.loads(text) for text in out.splitlines()]
    assert [line["kind"] for line in last] == ["state", "end"]
    assert (last[0]["step"], last[1]["exit_code"], code) == (4, 3, 3)
    assert err == ""


def test_plain_lines_in_a_pipe_begin_where_the_run_stands(run, watch):
    run.append(*map(row, range(1, 30)), CHECKPOINT)
    process = watch(f"runs/{RUN}")
    assert f"{RUN} step 29/40 | loss" in process.stdout.readline()
    run.append({**CHECKPOINT, "step": 30})
    assert f"{RUN} step 30 checkpoint: checkpoints/step-2" in process.stdout.readline()
    run.end(0, "done")
    assert ended(process)[:2][0] == 0


@pytest.mark.parametrize(
    ("code", "message"),
    [(0, "done"), (2, "train.lr: is 0. Raise it."), (75, "interrupted after step 3; continue")],
)
def test_a_finished_run_gives_its_own_exit_code(run, watch, code, message):
    run.append(*map(row, range(1, 4)))
    run.end(code, message)
    found, out, _ = ended(watch(RUN))
    assert found == code
    assert out.splitlines()[-1].endswith(f"{RUN} {message}")


def test_once_shows_one_whole_view(run, watch):
    run.append(*map(row, range(1, 9)), EVALUATION)
    run.metrics.replicas(True, False)
    code, out, err = ended(watch(RUN, "--once", COLUMNS="80"))
    assert (code, err) == (0, "")
    assert f"{RUN}  step 8/40" in out
    assert "goal below 5.0%: not met" in out
    assert "1 of 2 replicas up" in out
    assert "\x1b" not in out


def test_ctrl_c_ends_the_watching_only(run, watch):
    run.append(row(1))
    process = watch(RUN, "--json")
    lines_until(process, lambda line: line["kind"] == "state")
    process.send_signal(signal.SIGINT)
    code, out, _ = ended(process)
    assert code == 0
    assert json.loads(out.splitlines()[-1]) | {"time": 0} == {
        "kind": "end",
        "run": RUN,
        "time": 0,
        "exit_code": None,
        "message": "no longer watched; the run itself goes on",
    }


def test_a_killed_run_is_given_up(run, watch):
    run.append(row(1))
    for path in run.metrics.folder.iterdir():
        path.write_text(path.read_text().replace("timestamp_seconds{", "timestamp_seconds_old{"))
    code, out, _ = ended(watch(RUN, "--give-up", "0"))
    assert code == 4
    assert "no sign of life since 1970-01-01" in out  # the row's time
    assert "how it ended is not known" in out


def test_a_reader_that_has_gone_ends_it(run, watch):
    run.append(row(1))
    process = watch(RUN)
    process.stdout.readline()
    process.stdout.close()
    run.append(CHECKPOINT)
    assert process.wait(20) == 0


def test_a_name_that_is_no_run_is_answered_with_those_there_are(run, watch):
    code, out, err = ended(watch("sevn"))
    assert (code, out) == (2, "")
    assert err == (
        "error: sevn: is no run folder (config.json is missing). Name a folder like runs/NAME, a "
        "name in runs/ (in runs/ there are seven), or a metrics address.\n"
    )
    assert "write http://127.0.0.1:9000/metrics" in ended(watch("127.0.0.1:9000"))[2]
    assert "is no http address" in ended(watch("ftp://x/metrics"))[2]


@pytest.fixture
def exporter(run, request):
    exposure = Exposure(
        run=RUN,
        discovery=run.folder.parent / ".file_sd",
        grace_seconds=getattr(request, "param", 0.0),
    )
    one = RunExporter(run.metrics.folder, exposure)
    yield one
    one.close()


@pytest.mark.parametrize("exporter", [20.0], indirect=True, ids=["grace"])
def test_a_run_is_followed_through_its_exporter_to_its_end(run, exporter, watch):
    run.metrics.replicas(True, True)
    for step in range(1, 7):
        run.metrics.step(step, seconds=1.0, data_wait=0.5)
    process = watch(f"http://{exporter.address}", "--json")
    first = lines_until(process, lambda line: line["kind"] == "state")[-1]
    assert (first["run"], first["step"], first["steps"]) == (RUN, 6, 40)
    assert first["loss"] == {"total": 0.2, "forgetting": 0.1}
    assert first["bottleneck"]["text"] == (
        "50 % of the step waits for data; 2 more data.workers would help (data.workers=4; "
        "2 idle cores a rank)"
    )
    run.metrics.replicas(True, False)
    run.metrics.step(7)
    seen = lines_until(process, lambda line: line["kind"] == "event")
    assert seen[-1]["message"] == "replica 1 is down"
    run.metrics.end(3)
    closing = threading.Thread(target=exporter.close)
    closing.start()
    assert exporter._ended.wait(10)
    # Prometheus has its last scrape at once; the exporter stays until who watches knows too.
    with urllib.request.urlopen(f"http://{exporter.address}/metrics", timeout=10) as answer:
        assert b"dist_erase_run_exit_code" in answer.read()
    code, out, _ = ended(process)
    closing.join(5.0)
    assert not closing.is_alive()
    assert code == 3
    assert json.loads(out.splitlines()[-1])["exit_code"] == 3


def test_an_exporter_that_vanishes_is_waited_for_and_then_given_up(run, exporter, watch):
    run.metrics.step(1)
    process = watch(f"http://{exporter.address}/metrics", "--json", "--give-up", "3")
    lines_until(process, lambda line: line["kind"] == "state")
    exporter._server.close()
    silent = lines_until(process, lambda line: line["kind"] == "silence")[-1]
    assert silent["message"].startswith("no answer since ")
    assert silent["message"].endswith("(Connection refused), the run may have ended")
    code, out, _ = ended(process)
    assert code == 4
    assert json.loads(out.splitlines()[-1])["exit_code"] == 4


def test_a_password_comes_from_netrc_and_never_from_the_command_line(run, watch, tmp_path):
    run.metrics.step(1)
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    web = tmp_path / "web.yml"
    web.write_text(yaml.safe_dump({"basic_auth_users": {"me": hashed}}))
    exposure = Exposure(run=RUN, discovery=run.folder.parent / ".file_sd", web_config=str(web))
    exporter = RunExporter(run.metrics.folder, exposure)
    try:
        code, _, err = ended(watch(exporter.url, "--once", HOME=str(tmp_path)))
        assert code == 2
        assert "answers 401 Unauthorized. Write name and password into ~/.netrc" in err
        netrc = tmp_path / ".netrc"
        netrc.write_text("machine 127.0.0.1 login me password secret\n")
        netrc.chmod(0o600)
        code, out, err = ended(watch(exporter.url, "--once", HOME=str(tmp_path)))
        assert (code, err) == (0, "")
        assert f"{RUN}  step 1/40" in out or f"{RUN} step 1/40" in out
    finally:
        exporter.close()
    _, _, err = ended(watch(f"http://me:secret@{exporter.address}/metrics"))
    assert "secret" not in err
    assert "machine 127.0.0.1 login NAME password PASSWORD" in err


def test_processes_that_leave_nothing_in_the_folder_are_asked_at_their_addresses(
    run, exporter, watch, tmp_path
):
    run.metrics.replicas(True, False)
    run.append(*map(row, range(1, 4)))
    elsewhere = tmp_path / "on-the-node"
    run.metrics.folder.rename(elsewhere)
    exporter.close()
    one = RunExporter(elsewhere, Exposure(run=RUN, discovery=run.folder.parent / ".file_sd"))
    try:
        code, out, err = ended(watch(RUN, "--once", COLUMNS="80"))
    finally:
        one.close()
    assert (code, err) == (0, "")
    assert "1 of 2 replicas up" in out


def test_an_address_cannot_send_escape_sequences_to_a_terminal(watch):
    with web_server() as web:
        web.files["/metrics"] = (
            b'dist_erase_step{run="se\x1b[31mven",role="student",rank="0"} 3\n# EOF\n'
        )
        code, out, _ = ended(watch(f"{web.url}/metrics", "--once"))
    assert code == 0
    assert "se?[31mven" in out
    assert "\x1b" not in out


def test_what_is_no_run_at_an_address_is_said(run, exporter, watch):
    code, out, err = ended(watch(f"http://{exporter.address}/targets"))
    assert (code, out) == (2, "")
    assert "serves no metrics of dist-erase. Give the address that the run printed" in err
    assert "answers 404" in ended(watch(f"http://{exporter.address}/nothing"))[2]
    assert ended(watch("http://127.0.0.1:9/metrics", "--once"))[0] == 4
