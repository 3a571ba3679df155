"""The little script that keeps a stop request up on the cluster, as the cluster runs it."""

import os
import subprocess
import sys
import time

import pytest
from support.runs import wait_until

from dist_erase.orchestration.jobs import stop_file


def asking(folder, seconds=30):
    words = [sys.executable, stop_file.__file__, str(folder), str(seconds), "a test"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "seven"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_it_asks_until_the_run_has_ended(run):
    process = asking(run)
    wait_until((run / "stop").exists, "nothing was asked")
    assert process.poll() is None
    (run / "end.json").write_text("{}")
    assert process.wait(10) == 0


def test_a_run_that_is_resumed_and_still_starting_is_asked_after_it_has_cleared_up(run):
    """The end of its earlier part lies there until the driver claims the folder."""
    (run / "end.json").write_text("{}")
    os.utime(run / "end.json", ns=(10**18, 10**18))
    process = asking(run)
    wait_until((run / "stop").exists, "nothing was asked")
    time.sleep(1.5)
    assert process.poll() is None
    for left in ("end.json", "stop"):  # as `claim` does
        (run / left).unlink()
    wait_until((run / "stop").exists, "nothing was asked again")
    (run / "end.json").write_text("{}")
    assert process.wait(10) == 0


def test_a_run_that_does_not_begin_is_not_asked(run):
    (run / "config.json").unlink()
    assert asking(run).wait(10) == stop_file.NOT_STARTED


def test_a_folder_out_of_reach_is_named(tmp_path):
    process = asking(tmp_path / "nowhere" / "seven")
    assert process.communicate(timeout=10)[0].strip().endswith(f"does not see {tmp_path}/nowhere")
    assert process.returncode == stop_file.NOT_SEEN
