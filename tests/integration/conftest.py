import json
import os
import socket
import subprocess
import urllib.request
from functools import partial

import pytest
import yaml
from support.erasing import new_model
from support.prometheus import INSTALLED, prometheus
from support.runs import (
    BIN,
    ROOT,
    Bench,
    counted,
    finish,
    held,
    kill_one,
    kill_one_at_work,
    steps,
    wait_for_step,
    wait_until,
)
from support.scraping import scrape_until_done

from dist_erase.data.build.digits import build_digits

TINY = str(ROOT / "configs/models/tiny.json")


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "digits"
    build_digits(out)
    return out


@pytest.fixture(scope="session")
def original(digits, tmp_path_factory):
    """A tiny model, trained for a few steps by the real command.

    PATH shows no compiler and no ninja, as on a machine whose virtual environment is not active.
    """
    runs = tmp_path_factory.mktemp("original")
    config = runs / "pretrain.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "run": {"name": "tiny", "dir": str(runs)},
                "model": {"architecture": TINY},
                "data": {
                    "train": {"shards": f"{digits}/train/*.tar"},
                    "eval": {"shards": f"{digits}/eval/*.tar"},
                    "classes": f"{digits}/classes.json",
                    "workers": 1,
                },
                "train": {"batch": 64, "epochs": 10, "max_steps": 150, "lr": 3e-3},
                "observe": {"grace_seconds": 0},
            }
        )
    )
    command = [str(BIN / "dist-erase"), "pretrain", str(config)]
    environment = os.environ | {"PATH": "/nowhere"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("trained: ")
    result = json.loads((runs / "tiny" / "pretrain.json").read_text())
    assert result["figures"]["zero_shot"]["retain"]["top1"] > 0.2
    return runs / "tiny" / "model"


@pytest.fixture(scope="session")
def bench(digits, original, ray_cluster, tmp_path_factory):
    return new_bench(tmp_path_factory.mktemp("runs"), digits, original, ray_cluster)


def new_bench(runs, digits, model, address):
    """Where runs lie that erase from this model."""
    config = runs / "erase.yaml"
    sets = {"forget": "forget-*.tar", "retain": "retain-*.tar"}
    config.write_text(
        yaml.safe_dump(
            {
                "run": {"dir": str(runs)},
                "model": {
                    "architecture": TINY,
                    "pretrained": f"local-dir:{model}",
                },
                "data": {
                    **{n: {"shards": f"{digits}/train/{p}"} for n, p in sets.items()},
                    "eval": {n: {"shards": f"{digits}/eval/{p}"} for n, p in sets.items()},
                    "classes": f"{digits}/classes.json",
                    "workers": 1,
                },
                "train": {
                    "forget_batch": 8,
                    "retain_batch": 16,
                    "micro_batch": 4,  # slow steps, so that a signal meets the run alive
                    "max_steps": 16,
                    "lr": 1e-3,
                    "warmup_steps": 2,
                    "precision": "fp32",
                    "checkpoint": {"every_steps": 4, "keep_last": 10},
                },
                "teacher": {"replicas": 2, "dtype": "fp32"},
                "ray": {"workers": 2},
                "observe": {"grace_seconds": 0},
            }
        )
    )
    return Bench(config=config, runs=runs, address=address)


@pytest.fixture(scope="session")
def small_bench(digits, tmp_path_factory):
    """One with an untrained model and without a cluster, for tests that bring their own.

    They need none of what the cluster's tests share, so another process runs them meanwhile.
    """
    runs = tmp_path_factory.mktemp("small-runs")
    return new_bench(runs, digits, new_model(TINY, runs / "model"), "")


@pytest.fixture(scope="session")
def reference(bench):
    """An undisturbed run (AdamW, two workers, ZeRO-2), scraped while it ran."""
    process = bench.start("reference")
    scraped, output = scrape_until_done(process, bench.folder("reference"))
    assert process.returncode == 0, output
    return bench.folder("reference"), scraped, output


@pytest.fixture(scope="session")
def sgd():
    """What makes steps comparable over numbers of ranks: Adam turns noise into steps."""
    return ("train.optimizer=sgd", "train.lr=0.05", "train.grad_clip=0")


@pytest.fixture(scope="session")
def sgd_reference(bench, sgd):
    """By the deepspeed launcher: two processes, ZeRO-2, no Ray, teacher in-process."""
    bench.run("sgd", *sgd, deepspeed=2)
    return bench.folder("sgd")


@pytest.fixture(scope="session")
def watching(bench, tmp_path_factory):
    """A real Prometheus as we ship it, which scrapes every run from here on; None without one."""
    if not INSTALLED:
        yield None
        return
    with prometheus(tmp_path_factory.mktemp("prometheus"), bench.runs, "1s") as started:
        yield started


@pytest.fixture(scope="session")
def killed(bench, watching):
    """A run that lost a teacher and then a worker, with goals that it can neither reach nor break.

    Otherwise it is the reference run: what is measured on the way changes nothing.
    """
    folder = bench.folder("killed")
    forget = ["stop.forget_top1_below=0.0", "stop.forget_recall_below=0.0"]
    goals = ["evaluate.every_steps=4", *forget, "stop.retain_drop_above=1.0"]
    watched = ["observe.gradients_every=4", "observe.grace_seconds=20"]
    process = bench.start("killed", *goals, *watched)
    wait_for_step(folder, 2, process)
    kill_one_at_work("ray::TeacherReplica", folder)
    wait_for_step(folder, max(steps(folder)) + 1, process)
    with held("ray::TeacherReplica"):  # no step is done until the metrics are written down
        failed = partial(counted, folder, "dist_erase_teacher_failures_total")
        wait_until(lambda: failed() >= 1, "no request failed")
        kill_one("ray::RayTrainWorker")
    output = finish(process, expect=3)
    assert "goal missed: forget top-1" in output
    assert "goal missed: forget recall@1" in output
    return folder


@pytest.fixture(scope="session")
def stage3(bench, watching):
    """A run at ZeRO stage 3 in bf16 with one port a node; what that answered while it ran."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    one_port = ["observe.per_node=true", "observe.bind=0.0.0.0", f"observe.port={port}"]
    bf16 = ["train.precision=bf16", "teacher.dtype=bf16"]
    folder, grace = bench.folder("stage3"), "observe.grace_seconds=20"
    two = "data.workers=2"  # for each rank, under Ray
    process = bench.start("stage3", "train.zero_stage=3", *bf16, *one_port, grace, two)
    wait_for_step(folder, 2, process)
    answers = {}
    for path in ("metrics", "targets"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
            answers[path] = answer.read().decode()
    command = [str(BIN / "dist-erase"), "watch", str(folder), "--once"]
    answers["watch"] = subprocess.run(command, capture_output=True, text=True).stdout
    finish(process)
    return folder, answers
