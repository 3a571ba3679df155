"""The commands of README and docs that are marked as `runs`, executed as a reader types them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from support.erasing import new_model
from support.pages import PAGES, ROOT, RUNS, printed, relative, shell_blocks
from support.runs import BIN

pytestmark = pytest.mark.integration
EXECUTED = [page for page in PAGES if any(block.mark == RUNS for block in shell_blocks(page))]


@pytest.fixture(scope="session")
def untrained(tmp_path_factory) -> Path:
    """A model of the quickstart's architecture; nobody here asks how well it sees."""
    architecture = str(ROOT / "configs/models/digits.json")
    return new_model(architecture, tmp_path_factory.mktemp("digits-original") / "model")


@pytest.fixture
def workplace(tmp_path, digits, untrained, light_reference) -> Path:
    """A folder as the quickstart leaves it: data, original model, a finished run."""
    for name in ("configs", "docs", "launchers", "monitoring"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(BIN.parent)
    shutil.copytree(digits, tmp_path / "data" / "digits")
    shutil.copytree(untrained, tmp_path / "runs" / "digits-original" / "model")
    shutil.copytree(light_reference, tmp_path / "runs" / "quickstart")
    return tmp_path


@pytest.fixture(scope="session")
def store(digits) -> Iterator[str]:
    """An S3 endpoint (moto's server) with the digits in the bucket `pool`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket="pool")
    for shard in sorted(digits.glob("*/*.tar")):
        client.upload_file(str(shard), "pool", str(shard.relative_to(digits)))
    yield endpoint
    server.stop()


@pytest.mark.parametrize("page", EXECUTED, ids=relative)
def test_shown_commands_run(page, workplace, request):
    script = "\n".join(block.text for block in shell_blocks(page) if block.mark == RUNS)
    environment = os.environ | {"COLUMNS": "100", "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    if "s3://" in script:
        environment["AWS_ENDPOINT_URL"] = request.getfixturevalue("store")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-x", "-c", script],
        cwd=workplace,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    missing = [line.pattern for line in printed(page) if not line.search(done.stdout)]
    assert not missing, f"the page shows {missing}, but printed was:\n{done.stdout}"
