"""The same through the real command: exit code 2, one line, no traceback."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest
from support.runs import BIN, tree

from dist_erase.config.run import RunConfig
from dist_erase.orchestration.run_folder import claim

pytestmark = pytest.mark.integration


def command(*arguments):
    return subprocess.run(
        [str(BIN / "dist-erase"), *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


def assert_one_line(done, *parts):
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in done.stderr + done.stdout
    for part in parts:
        assert part in lines[0]


def test_a_missing_shard(config, write):
    config["data"]["forget"]["shards"] = "nowhere/*.tar"
    assert_one_line(command("run", write(config)), "data.forget.shards", "nowhere")


def test_an_unknown_key(config, write):
    assert_one_line(command("run", write(config), "train.learning_rat=1"), "train.learning_rat")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "auto"])
def test_no_cluster_at_the_address(config, write, monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # auto: of a cluster that is gone
    started = time.monotonic()
    done = command("run", write(config), f"ray.address={address}")
    assert_one_line(done, "ray.address", f"at {address} (", ":1: ")
    assert time.monotonic() - started < 110  # Ray alone would try for 14 minutes


def test_a_folder_with_another_run(config, write):
    folder = claim(RunConfig.model_validate(config))
    before = tree(folder)
    assert_one_line(command("run", write(config)), str(folder), "--resume", "--overwrite")
    assert tree(folder) == before


@pytest.mark.operations
def test_a_corrupt_training_image_stops_the_run_once(config, write, digits, spoil, ray_cluster):
    shard = spoil(
        digits / "train/forget-000000.tar",
        lambda name, data: b"\xff\xd8 no image" if name.endswith(".jpg") else data,
    )
    config["data"]["forget"]["shards"] = str(shard)
    done = command("run", write(config), f"ray.address={ray_cluster}")
    assert_one_line(done, shard.name, "data.max_corrupt_fraction")
    run = Path(config["run"]["dir"], "spoilt")
    assert not (run / "model").exists()
    assert not (run / "report.json").exists()
    assert json.loads((run / "end.json").read_text())["exit_code"] == 2


def test_a_dry_run_says_what_would_happen(config, write, ray_cluster):
    config["data"] |= {"cache_bytes": 2 * 10**6, "shuffle_window": 1000}
    done = command("run", write(config), f"ray.address={ray_cluster}", "--dry-run")
    assert done.returncode == 0, done.stderr
    for word in (
        "steps:",
        "forget passes:",
        "world sizes:",
        "resources:",
        "run folder:",
        "report:",
    ):
        assert word in done.stdout
    assert "4 of 8 forget + 16 retain pairs" in done.stdout
    # 24 streams would have all of the retain set open, which is 6 MB; the forget set is 0.6 MB.
    reading = r"reading: +forget in blocks of 64; retain one sample at a time \(data.cache_bytes="
    assert re.search(reading + r"5\d{6} or data.block=2\d would", done.stdout), done.stdout
    assert not Path(config["run"]["dir"], "spoilt").exists()
