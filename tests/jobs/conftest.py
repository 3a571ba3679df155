from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.heads import Head, ray_head
from support.proxy import Proxy
from support.runs import BIN, ROOT


class Station:
    """Where jobs are sent from: a folder with a configuration, and a cluster behind a proxy."""

    def __init__(self, home: Path, head: Head, proxy: Proxy) -> None:
        self.home, self.head, self.proxy = home, head, proxy
        self.runs = home / "runs"

    def start(
        self, *arguments: str, straight: bool = False, **environment: str
    ) -> subprocess.Popen[str]:
        """Starts `dist-erase ARGUMENTS`; through the proxy, unless it is to go straight."""
        port = self.head.port if straight else self.proxy.port
        return subprocess.Popen(
            [str(BIN / "dist-erase"), *arguments, "--address", f"http://127.0.0.1:{port}"],
            cwd=self.home,
            env=os.environ | {"COLUMNS": "200"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, expect: int = 0, **environment: str) -> tuple[str, str]:
        """Straight and to the end: stdout and stderr."""
        return finish(self.start(*arguments, straight=True, **environment), expect)


def finish(process: subprocess.Popen[str], expect: int = 0) -> tuple[str, str]:
    """Waits: stdout and stderr; AssertionError with both on another exit code."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == expect, f"exit code {process.returncode}\n{out}\n{err}"
    return out, err


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    with ray_head() as started:
        yield started


@pytest.fixture(scope="session")
def home(light, digits, sgd, tmp_path_factory) -> Path:
    """A folder that jobs are sent from; the digits and the original model lie elsewhere.

    Its run is that of `light_reference`.
    """
    home = tmp_path_factory.mktemp("home")
    tree = yaml.safe_load(light.config.read_text())
    for key, name, source in (
        ("model", "architecture", ROOT / "configs/models/tiny.json"),
        ("data", "classes", digits / "classes.json"),
    ):
        (home / source.name).write_text(source.read_text())
        tree[key][name] = source.name
    tree["run"] = {"name": "seven", "dir": str(home / "runs")}
    tree["teacher"]["kind"] = "local"
    tree["ray"]["address"] = "local"  # of no effect: the job's own cluster is meant
    for key, value in (word.removeprefix("train.").split("=") for word in sgd):
        tree["train"][key] = yaml.safe_load(value)
    (home / "erase.yaml").write_text(yaml.safe_dump(tree))
    return home


@pytest.fixture(scope="session")
def station(head, home) -> Iterator[Station]:
    proxy = Proxy(head.port)
    yield Station(home, head, proxy)
    proxy.close()
