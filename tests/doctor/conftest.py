from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from dist_erase.config.run import RunConfig

ROOT = Path(__file__).parents[2]


def write_shard(path: Path, samples: int) -> None:
    with tarfile.open(path, "w") as tar:
        for row in range(samples):
            for suffix, content in (("jpg", b"\xff\xd8 no image"), ("txt", b"a caption")):
                member = tarfile.TarInfo(f"{row:06d}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three shards of two samples each."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(3):
        write_shard(folder / f"{number:03d}.tar", 2)
    return folder


@pytest.fixture
def tree(tmp_path: Path, shards: Path) -> dict[str, Any]:
    """A configuration that fits this machine; the model's weights are a tag that is not here."""
    sets = {name: {"shards": f"{shards}/*.tar"} for name in ("forget", "retain")}
    return {
        "run": {"name": "mine", "dir": str(tmp_path / "runs")},
        "model": {"architecture": str(ROOT / "configs/models/tiny.json"), "pretrained": "tag"},
        "data": {**sets, "eval": sets},
        "ray": {"address": "local"},
    }


@pytest.fixture
def config(tree: dict[str, Any]) -> RunConfig:
    return RunConfig.model_validate(tree)


@pytest.fixture
def write(tmp_path: Path):
    """Writes a configuration file."""

    def write(tree: dict[str, Any]) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(tree))
        return path

    return write
