"""The commands of README and docs that are marked as `runs`, executed as a reader types them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from support.pages import PAGES, ROOT, RUNS, plain_commands, printed, relative, shell_blocks
from support.runs import BIN
from support.tiny import new_model

from dist_erase.cli.app import main

pytestmark = [pytest.mark.integration, pytest.mark.operations]
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


@pytest.fixture
def execute(workplace, monkeypatch, capsys):
    """Executes a block in the workplace; gives what it printed.

    Commands of ours that need no shell are called in this process, which has torch loaded and Ray
    running: that saves most of their time.
    """
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")

    def ours(words: list[str]) -> str:
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as caught:
            main()
        printed = "".join(capsys.readouterr())
        assert not caught.value.code, f"{' '.join(words)}\n{printed}"
        return printed

    def shell(script: str) -> str:
        command = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def block(script: str, *, in_process: bool) -> str:
        # A process has one Ray at most, and other tests may have had theirs in this one.
        alone = not in_process or "dist-erase run" in script
        words = None if alone else plain_commands(script)
        return shell(script) if words is None else "".join(map(ours, words))

    return block


@pytest.mark.parametrize("page", EXECUTED, ids=relative)
def test_shown_commands_run(page, execute, request, monkeypatch):
    scripts = [block.text for block in shell_blocks(page) if block.mark == RUNS]
    remote = any("s3://" in script for script in scripts)
    if remote:
        # Fork servers that other tests have started do not see this, so new processes it must be.
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("store"))
    output = "".join(execute(script, in_process=not remote) for script in scripts)
    missing = [line.pattern for line in printed(page) if not line.search(output)]
    assert not missing, f"the page shows {missing}, but printed was:\n{output}"
