from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from support.erasing import change_shard, erase_on_ranks, members
from support.tiny import new_model

from dist_erase.cli.app import main
from dist_erase.config.run import RunConfig
from dist_erase.data.build.digits import build_digits

TINY = str(Path(__file__).parents[2] / "configs" / "models" / "tiny.json")
STEPS = 12


@pytest.fixture
def command_line(monkeypatch, capsys, tmp_path):
    """The command line, in this process and in `tmp_path`: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def go(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dist-erase", *args])
        with pytest.raises(SystemExit) as caught:
            main()
        return (caught.value.code or 0, *capsys.readouterr())

    return go


@pytest.fixture(scope="session")
def dirty_digits(tmp_path_factory) -> Path:
    """Digits in small shards; some images cut off, some captions empty, one image in both sets.

    Most of the first retain shard is missing; sizes.json says what it held.
    """
    out = tmp_path_factory.mktemp("dirty") / "digits"
    build_digits(out, shard_size=50)
    forgotten = next(
        content
        for name, content in members(out / "train" / "forget-000000.tar").items()
        if name.endswith(".jpg") and int(name[:6]) % 7 and int(name[:6]) % 11
    )
    shared = {"copy": forgotten}

    def spoil(name: str, data: bytes) -> bytes | None:
        number, _, suffix = name.partition(".")
        if suffix == "jpg" and int(number) % 7 == 0:
            return data[:300]
        if suffix == "txt" and int(number) % 11 == 0:
            return b"  "
        if suffix == "jpg" and int(number) % 13 == 0 and "retain" in current and shared:
            return shared.pop("copy")
        return data

    for shard in sorted((out / "train").glob("*.tar")):
        current = shard.name
        change_shard(shard, spoil)
    cut = out / "train" / "retain-000000.tar"
    (cut.parent / "sizes.json").write_text(json.dumps({cut.name: 50}))
    os.truncate(cut, cut.stat().st_size // 4)
    return out


@pytest.fixture(scope="session")
def erased(dirty_digits, tmp_path_factory) -> Path:
    """The run folder of a short erasing run of two ranks over dirty shards."""
    home = tmp_path_factory.mktemp("erased")
    model = new_model(TINY, home / "original")
    config = RunConfig.model_validate(run_tree(dirty_digits, model, home / "runs"))
    return erase_on_ranks(config, 2)


@pytest.fixture
def copy_of_run(erased, tmp_path) -> Path:
    """A copy of the run folder, with the index beside it, that a test may change."""
    shutil.copytree(erased.parent, tmp_path / "runs")
    return tmp_path / "runs" / erased.name


def run_tree(digits: Path, model: Path, runs: Path) -> dict:
    sets = {"forget": "forget-*.tar", "retain": "retain-*.tar"}
    return {
        "run": {"name": "short", "dir": str(runs)},
        "model": {"architecture": TINY, "pretrained": f"local-dir:{model}"},
        "data": {
            **{name: {"shards": f"{digits}/train/{p}"} for name, p in sets.items()},
            "eval": {name: {"shards": f"{digits}/eval/{p}"} for name, p in sets.items()},
            "classes": f"{digits}/classes.json",
            "workers": 1,
            "block": 8,
            "max_corrupt_fraction": 0.5,
            "overlap_scan_max": "1B",  # shared images are met while training
        },
        "train": {
            "forget_batch": 8,
            "retain_batch": 16,
            "max_steps": STEPS,
            "lr": 1e-3,
            "precision": "fp32",
        },
        "objective": {"forget": {"floor": "none"}},
        "teacher": {"kind": "local", "dtype": "fp32"},
        "observe": {"grace_seconds": 0},
    }
