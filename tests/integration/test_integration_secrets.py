"""A run with secrets in a URL and in the environment: they are nowhere to be seen."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray
import yaml
from support.runs import BIN, Bench, steps
from support.web import web_server

pytestmark = pytest.mark.integration
SIGNATURE = "hush5a6b7c8d"
PASSWORD = "hush1e2f3a4b"


def seen(since: float) -> Iterator[tuple[int, str, list[str], list[str]]]:
    """Of each process started since: pid, command line and addresses listened on."""
    for process in psutil.process_iter():
        try:
            if process.create_time() < since:
                continue
            listening = [c for c in process.net_connections("inet") if c.status == "LISTEN"]
            addresses = [f"{c.laddr.ip}:{c.laddr.port}" for c in listening]
            yield process.pid, process.name(), process.cmdline(), addresses
        except psutil.Error:
            continue


@pytest.fixture(scope="module")
def watched_run(bench: Bench, digits: Path, tmp_path_factory):
    """What a run printed, the command lines and addresses there were, and Ray's own record."""
    tree = yaml.safe_load(bench.config.read_text())
    data = tree["data"]
    home = tmp_path_factory.mktemp("secrets")
    since, lines, listening = time.time(), set(), set()
    with web_server() as web:
        for path in digits.rglob("*.tar"):
            web.files[f"/{path.relative_to(digits)}"] = path.read_bytes()
        web.signature = SIGNATURE
        query = f"?X-Amz-Signature={SIGNATURE}"
        for place, sets in (("train", data), ("eval", data["eval"])):
            for name in ("forget", "retain"):
                count = len(list((digits / place).glob(f"{name}-*.tar"))) - 1
                pattern = f"{name}-{{000000..{count:06d}}}.tar"
                sets[name] = {"shards": f"{web.url}/{place}/{pattern}{query}"}
        tree["run"] = {"name": "secrets", "dir": str(home / "runs")}
        tree["ray"] = {"workers": 1, "address": bench.address}
        tree["teacher"]["replicas"] = 1
        tree["train"] |= {"max_steps": 4, "micro_batch": None}
        config = home / "secret.yaml"
        config.write_text(yaml.safe_dump(tree))
        process = subprocess.Popen(
            [str(BIN / "dist-erase"), "run", str(config)],
            env=os.environ | {"AWS_SECRET_ACCESS_KEY": PASSWORD, "HF_TOKEN": PASSWORD},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while process.poll() is None:
            for _, _, line, addresses in seen(since):
                lines.add(" ".join(line))
                if "ray::" in " ".join(line) or "dist-erase" in " ".join(line):
                    listening.update(addresses)
            time.sleep(0.3)
        printed = process.communicate()[0]
    assert process.returncode == 0, printed
    config.unlink()
    return home, printed, lines, listening


def test_the_run_was_a_run(watched_run):
    home, printed, lines, _ = watched_run
    assert max(steps(home / "runs" / "secrets")) == 4
    assert "report" in printed
    assert any("dist-erase run" in line for line in lines)
    assert any("ray::" in line for line in lines)


@pytest.mark.parametrize("secret", [SIGNATURE, PASSWORD])
def test_no_file_of_the_run_holds_a_secret(watched_run, secret):
    home = watched_run[0]
    files = [path for path in home.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [str(path) for path in files if secret.encode() in path.read_bytes()] == []


@pytest.mark.parametrize("secret", [SIGNATURE, PASSWORD])
def test_nothing_printed_and_no_command_line_holds_a_secret(watched_run, secret):
    _, printed, lines, _ = watched_run
    assert secret not in printed
    assert [line for line in lines if secret in line] == []


@pytest.mark.parametrize("secret", [SIGNATURE, PASSWORD])
def test_ray_has_no_secret_in_its_logs_or_its_record_of_the_run(watched_run, secret):
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    logs = [path for path in session.rglob("*") if path.is_file() and not path.is_socket()]
    assert len(logs) > 5
    assert [str(path) for path in logs if secret.encode() in path.read_bytes()] == []


def test_what_ray_train_remembers_of_a_configuration_is_sealed():
    # As Ray Train makes its record, which its dashboard and exports show.
    from ray.train.v2._internal.state.schema import _to_json_serializable_value

    from dist_erase.orchestration.train_entry import Sealed

    settings = {"config": Sealed({"shards": SIGNATURE}), "folder": "/runs/x"}
    record = _to_json_serializable_value(settings)
    assert record["folder"] == "/runs/x"
    assert SIGNATURE not in str(record)


def test_an_embedded_cluster_lets_nobody_in_without_its_token(bench):
    """`ray.init` of a run with ray.address=local; the tests' own cluster was started so, too."""
    question = (
        "from ray._raylet import Config, GcsClient\n"
        "Config.initialize('')\n"
        f"GcsClient(address={bench.address!r}).get_all_node_info(timeout=5)\n"
        "print('let in')\n"
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH_")}
    done = subprocess.run(
        [sys.executable, "-c", question],
        env=clean | {"RAY_AUTH_MODE": "disabled"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "let in" not in done.stdout
    assert done.returncode != 0
