"""The command as a user runs it: with real devices, a real group and a real Ray cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.runs import BIN, wait_until
from support.tiny import new_model

from dist_erase.orchestration.doctor.probe_ray import check_token, clock_row

ROOT = Path(__file__).parents[2]
CHEAP = """
import sys
from pathlib import Path
from dist_erase.orchestration.doctor.examine import examine
parts = examine(Path(sys.argv[1]), [])
rows = [row for _ in range(2) for row in next(parts).rows]
heavy = {"torch", "ray", "open_clip", "deepspeed", "webdataset"} & set(sys.modules)
print(len(rows), sorted(heavy))
parts.close()
"""


def doctor(*arguments: Any, **environment: str) -> tuple[int, list[dict], str]:
    """Exit code, rows, standard error."""
    done = subprocess.run(
        [str(BIN / "dist-erase"), "doctor", *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | environment,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def states(rows: list[dict], check: str) -> set[str]:
    return {row["state"] for row in rows if row["check"] == check}


def test_cheap_checks_import_nothing_heavy(tree, write):
    command = [sys.executable, "-c", CHEAP, str(write(tree))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    count, heavy = done.stdout.split(" ", 1)
    assert int(count) > 15
    assert heavy.strip() == "[]"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    architecture = str(ROOT / "configs/models/tiny.json")
    return new_model(architecture, tmp_path_factory.mktemp("model") / "original")


@pytest.fixture
def sound(tree, model, write) -> Path:
    """A configuration whose run would start: shards (of no images) are not decoded here."""
    tree["model"]["pretrained"] = f"local-dir:{model}"
    return write(tree)


@pytest.mark.integration
@pytest.mark.operations
def test_a_cluster_with_a_token_and_room(sound, ray_cluster, tmp_path):
    (tmp_path / "runs").mkdir()
    begin = time.monotonic()
    code, rows, said = doctor(sound, "--address", ray_cluster)
    assert (code, said) == (0, ""), [row for row in rows if row["state"] == "fail"]
    assert time.monotonic() - begin < 200  # alone on the machine it takes about 10 s
    for check in ("configuration", "devices", "process group", "model", "model weights"):
        assert states(rows, check) == {"ok"}, check
    for check in ("Ray token", "Ray resources", "clock", "ray.address"):
        assert states(rows, check) == {"ok"}, check
    assert states(rows, "data.forget") == {"warn"}  # not indexed
    group = next(row for row in rows if row["check"] == "process group")
    assert "sums over a group of one process" in group["found"]
    parts = list(dict.fromkeys(row["part"] for row in rows))
    assert parts[:3] == ["this machine", "shards", "devices and model"]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == []


@pytest.mark.integration
@pytest.mark.operations
def test_a_cluster_with_a_token_that_is_not_here(sound, ray_cluster, tmp_path):
    clean = dict.fromkeys(("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"), "")
    home = tmp_path / "home"
    home.mkdir()
    code, rows, _ = doctor(sound, "--address", ray_cluster, HOME=str(home), **clean)
    assert code == 2
    (token,) = [row for row in rows if row["check"] == "Ray token"]
    assert token["state"] == "fail"
    assert "asks for a token, and none is sent from here" in token["found"]
    assert "~/.ray/auth_token" in token["mend"]


@pytest.fixture
def open_cluster(tmp_path) -> Iterator[str]:
    """A real Ray without token authentication, in a process of its own."""
    script = (
        "import ray, sys\n"
        "ray.init(address='local', num_cpus=1, include_dashboard=False, log_to_driver=False)\n"
        "print(ray.get_runtime_context().gcs_address, flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"RAY_AUTH_MODE": "disabled"},
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.communicate(timeout=30)


@pytest.mark.integration
@pytest.mark.operations
def test_an_open_cluster_is_warned_about_and_one_without_room_refused(sound, open_cluster):
    asked = ("ray.workers=400", "--address", open_cluster)
    code, rows, _ = doctor(sound, *asked, RAY_AUTH_MODE="disabled")
    assert code == 2
    (room,) = [row for row in rows if row["check"] == "Ray resources"]
    assert (room["state"], "find no room" in room["found"]) == ("fail", True)
    (token,) = [row for row in rows if row["check"] == "Ray token"]
    assert token["state"] == "warn"
    assert "the cluster is open" in token["found"]
    assert states(rows, "clock") == {"ok"}


@pytest.mark.integration
def test_everything_wrong_is_a_row_and_nothing_a_traceback(tree, write):
    tree["model"]["pretrained"] = "no-such-tag"
    tree["data"]["retain"] = {"shards": "/nowhere/*.tar"}
    tree["run"]["dir"] = "/proc/runs"
    code, rows, said = doctor(write(tree), "--address", "127.0.0.1:1")
    assert (code, said) == (2, "")
    for check in ("run.dir", "data.retain", "ray.address", "model"):
        assert states(rows, check) == {"fail"}, check
    (model,) = [row for row in rows if row["check"] == "model"]
    assert "'no-such-tag' is neither a weights tag" in model["found"]


@pytest.mark.integration
def test_a_configuration_that_does_not_fit_is_a_row_and_the_machine_is_looked_at(tree, write):
    tree["train"] = {"learning_rat": 1}
    code, rows, said = doctor(write(tree))
    assert (code, said) == (2, "")
    assert states(rows, "configuration") == {"fail"}
    assert "train.learning_rat" in rows[0]["found"]
    assert states(rows, "versions") == {"ok"}


@pytest.mark.integration
def test_what_it_started_ends_with_it(sound):
    process = subprocess.Popen(
        [str(BIN / "dist-erase"), "doctor", str(sound)], stdout=subprocess.DEVNULL
    )
    wait_until(lambda: probes_of(process.pid), "no probe was started")
    started = probes_of(process.pid)
    process.kill()
    process.wait()
    _, left = psutil.wait_procs(started, timeout=120)
    assert left == []


def probes_of(pid: int) -> list[psutil.Process]:
    children = psutil.Process(pid).children()
    return [p for p in children if any("doctor.probe" in word for word in words_of(p))]


def words_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # gone since it was listed
        return []


@pytest.mark.integration
def test_tables_for_people(sound):
    done = subprocess.run(
        [str(BIN / "dist-erase"), "doctor", str(sound)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"COLUMNS": "160"},
    )
    assert done.returncode == 0, done.stdout
    for words in ("this machine", "devices and model", "file limit", " may\n"):
        assert words in done.stdout


def test_who_may_enter():
    assert [row.state for row in check_token(None)] == ["warn"]
    (row,) = check_token(False)
    assert "everyone who reaches its ports" in row.found


@pytest.mark.parametrize(
    ("there", "state"),
    [(100.5, "ok"), (101.9, "ok"), (104.0, "warn"), (96.0, "warn"), (200, "fail")],
)
def test_clocks_are_as_far_apart_as_the_way_of_an_answer_proves(there, state):
    assert clock_row(there, sent=100.0, received=101.0).state == state
