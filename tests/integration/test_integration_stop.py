"""Runs that are stopped from outside, in every way, and go on to the very same weights."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest
import torch
from support.ports import free_port
from support.runs import (
    BIN,
    ROOT,
    finish,
    steps,
    wait_for_step,
    wait_until,
    weights,
)

pytestmark = [pytest.mark.integration, pytest.mark.operations]
LAUNCH = [sys.executable, str(ROOT / "launchers" / "deepspeed" / "launch.py")]
TORCHRUN = ["--by", str(BIN / "torchrun"), "--standalone", "--nproc-per-node=2"]
RANK = "launchers/deepspeed/unlearn.py"
LARGE = ("train.zero_stage=3", "train.precision=bf16", "teacher.dtype=bf16")  # as for large models


def end_of(folder):
    path = folder / "end.json"
    return json.loads(path.read_text()) if path.exists() else {}


def start(*words):
    environment = os.environ | {"DS_ACCELERATOR": "cpu"}
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    return subprocess.Popen(
        words,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ranks_of(process):
    """The processes that train, below a launcher; the first is rank 0."""
    below = psutil.Process(process.pid).children(recursive=True)
    ours = [one for one in below if any(word.endswith(RANK) for word in one.cmdline()[1:3])]
    return sorted(ours, key=lambda one: one.environ()["RANK"])


def test_a_launch_that_is_stopped_three_times_goes_on_with_the_same_steps(
    light, light_reference, sgd
):
    folder = light.folder("stopped")
    theirs = ["--config", str(light.config), "run.name=stopped", *sgd]

    # SIGTERM to our launcher: the run is asked to stop, and its exit code comes back.
    process = start(*LAUNCH, *TORCHRUN, *theirs, "--resume-or-start")
    wait_for_step(folder, 2, process)
    process.send_signal(signal.SIGTERM)
    output = finish(process, expect=75)
    first = max(steps(folder))
    last = f"stopped at step {first} by SIGTERM; the same command with --resume goes on"
    assert output.rstrip().endswith(last)

    # SIGTERM to `deepspeed` itself, which ends without a word to its ranks.
    deepspeed = [str(BIN / "deepspeed"), "--num_accelerators", "2"]
    deepspeed += ["--master_port", str(free_port()), RANK]
    process = start(*deepspeed, *theirs, "--resume")
    wait_for_step(folder, first + 2, process)
    process.send_signal(signal.SIGTERM)
    finish(process, expect=-signal.SIGTERM)
    wait_until(lambda: end_of(folder).get("exit_code") == 75, "the ranks train on")
    second = max(steps(folder))
    assert end_of(folder)["message"].startswith(f"stopped at step {second} by ")

    # Rank 0, which would leave word of the end, is killed.
    process = start(*LAUNCH, "--num_accelerators", "2", *theirs, "--resume-or-start")
    wait_for_step(folder, second + 2, process)
    ranks_of(process)[0].kill()
    output = finish(process, expect=75)
    assert "rank 0 ended without a word" in output
    newest = max(int(path.name.split("-")[1]) for path in folder.glob("checkpoints/step-*"))
    assert f"step {newest} is saved; the same command with --resume goes on" in output

    # Any difference in weights or pairs would show in the losses of the steps behind it.
    done, expected = steps(folder), steps(light_reference)
    assert max(done) >= second + 2
    for step, row in done.items():
        assert (row["loss"], row["batch"]) == (expected[step]["loss"], expected[step]["batch"])


def test_a_run_that_its_goals_ended_goes_on_under_others(light):
    folder = light.folder("goals")
    light.run("goals", "evaluate.every_steps=2", "stop.forget_top1_below=1.0", *LARGE, deepspeed=2)
    assert max(steps(folder)) == 2

    another = ["--resume", "evaluate.every_steps=4", "stop.forget_top1_below=0.0"]
    light.run("goals", *another, *LARGE, deepspeed=2, expect=3)
    assert max(steps(folder)) == 16
    assert {tensor.dtype for tensor in weights(folder).values()} == {torch.float32}
