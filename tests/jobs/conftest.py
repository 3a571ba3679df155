from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.erasing import new_model
from support.heads import Head, ray_head
from support.proxy import Proxy
from support.runs import BIN, ROOT

from dist_erase.data.build.digits import build_digits


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
def home(tmp_path_factory) -> Path:
    """A folder that jobs are sent from; the digits and an untrained model lie elsewhere."""
    far = tmp_path_factory.mktemp("far")
    build_digits(far / "digits")
    new_model(str(ROOT / "configs/models/tiny.json"), far / "original")
    home = tmp_path_factory.mktemp("home")
    (home / "tiny.json").write_text((ROOT / "configs/models/tiny.json").read_text())
    (home / "classes.json").write_text((far / "digits/classes.json").read_text())
    sets = {"forget": "forget-*.tar", "retain": "retain-*.tar"}
    tree = {
        "run": {"name": "seven", "dir": str(home / "runs")},
        "model": {"architecture": "tiny.json", "pretrained": f"local-dir:{far}/original"},
        "data": {
            **{n: {"shards": f"{far}/digits/train/{p}"} for n, p in sets.items()},
            "eval": {n: {"shards": f"{far}/digits/eval/{p}"} for n, p in sets.items()},
            "classes": "classes.json",
            "workers": 1,
        },
        "train": {
            "forget_batch": 8,
            "retain_batch": 16,
            "micro_batch": 4,
            "epochs": 1000,
            "max_steps": 3000,
            "precision": "fp32",
            "checkpoint": {"every_steps": 1000},
        },
        "teacher": {"kind": "local", "dtype": "fp32"},
        "ray": {"workers": 1, "address": "local"},  # of no effect: the job's own cluster is meant
        "observe": {"grace_seconds": 0},
    }
    (home / "erase.yaml").write_text(yaml.safe_dump(tree))
    return home


@pytest.fixture(scope="session")
def station(head, home) -> Iterator[Station]:
    proxy = Proxy(head.port)
    yield Station(home, head, proxy)
    proxy.close()
