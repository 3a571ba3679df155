"""A run with secrets in URLs and in the environment, `fewer`: they are nowhere to be seen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from support.leaks import PASSWORD, SIGNATURE
from support.runs import steps

pytestmark = pytest.mark.integration


def test_the_run_was_a_run(fewer, signed):
    folder, answers = fewer
    assert SIGNATURE in signed.config.read_text()
    assert max(steps(folder)) == 16
    assert "report" in answers["printed"]
    assert any(str(signed.config) in line for line in answers["lines"])
    assert any("ray::" in line for line in answers["lines"])


@pytest.mark.parametrize("secret", [SIGNATURE, PASSWORD])
def test_no_file_of_the_run_holds_a_secret(fewer, secret):
    folder, _ = fewer
    # What lies beside the run folders, such as the index, included.
    files = [path for path in folder.parent.rglob("*") if path.is_file()]
    assert len([path for path in files if path.is_relative_to(folder)]) > 10
    assert [str(path) for path in files if secret.encode() in path.read_bytes()] == []


@pytest.mark.parametrize("secret", [SIGNATURE, PASSWORD])
def test_nothing_said_and_no_command_line_holds_a_secret(fewer, secret):
    _, answers = fewer
    assert set(answers) == {"metrics", "targets", "watch", "printed", "lines"}
    assert [line for line in answers["lines"] if secret in line] == []
    assert [name for name, said in answers.items() if secret in said] == []


@pytest.mark.parametrize("secret", [SIGNATURE, PASSWORD])
def test_ray_has_no_secret_in_its_logs_or_its_record_of_the_run(fewer, secret):
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
