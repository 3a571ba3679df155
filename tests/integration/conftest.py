import dataclasses
import json
import os
import subprocess
import urllib.request
from functools import partial

import pytest
import yaml
from support.leaks import PASSWORD, SIGNATURE, command_lines
from support.light import erasing
from support.ports import free_port
from support.prometheus import INSTALLED, prometheus
from support.runs import (
    BIN,
    ROOT,
    Bench,
    counted,
    end,
    finish,
    held_when,
    kill_one,
    kill_one_at_work,
    wait_for_step,
)
from support.web import web_server


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
                "model": {"architecture": str(ROOT / "configs/models/tiny.json")},
                "data": {
                    "train": {"shards": f"{digits}/train/*.tar"},
                    "eval": {"shards": f"{digits}/eval/*.tar"},
                    "classes": f"{digits}/classes.json",
                    "workers": 1,
                },
                "train": {
                    "batch": 64,
                    "epochs": 10,
                    "max_steps": 80,
                    "lr": 3e-3,
                    "augment": {"crop": 2, "flip": True},
                },
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
    runs = tmp_path_factory.mktemp("runs")
    config = runs / "erase.yaml"
    config.write_text(yaml.safe_dump(erasing(digits, original, runs)))
    return Bench(config=config, runs=runs, address=ray_cluster)


@pytest.fixture(scope="session")
def reference_at_work(bench):
    """The reference run, which may go on beside others: nobody looks at it before its end."""
    process = bench.start("reference", deepspeed=2)
    yield process
    end(process)


@pytest.fixture(scope="session")
def reference(bench, reference_at_work):
    """An undisturbed run by the deepspeed launcher (AdamW, two ranks, ZeRO-2): folder, output."""
    return bench.folder("reference"), finish(reference_at_work)


@pytest.fixture(scope="session")
def watching(bench, tmp_path_factory):
    """A real Prometheus as we ship it, which scrapes every run from here on; None without one."""
    if not INSTALLED:
        yield None
        return
    with prometheus(tmp_path_factory.mktemp("prometheus"), bench.runs, "1s") as started:
        yield started


@pytest.fixture(scope="session")
def killed(bench, watching, reference_at_work):
    """A run that lost a teacher and then a worker, with goals that it can neither reach nor break.

    Otherwise it is the reference run: neither Ray nor what is measured on the way changes anything.
    """
    folder = bench.folder("killed")
    forget = ["stop.forget_top1_below=0.0", "stop.forget_recall_below=0.0"]
    goals = ["evaluate.every_steps=4", *forget, "stop.retain_drop_above=1.0"]
    watched = ["observe.gradients_every=4", "observe.grace_seconds=20"]
    process = bench.start("killed", "teacher.replicas=2", "data.workers=1", *goals, *watched)
    wait_for_step(folder, 2, process)
    kill_one_at_work("ray::TeacherReplica", folder, process)
    wait_for_step(folder, 4, process)  # there is a checkpoint
    failed = partial(counted, folder, "dist_erase_teacher_failures_total")
    with held_when(lambda: failed() >= 1, "ray::TeacherReplica", folder, process):
        kill_one("ray::RayTrainWorker")
    output = finish(process, expect=3)
    assert "metrics: http://127.0.0.1:" in output
    assert "goal missed: forget top-1" in output
    assert "goal missed: forget recall@1" in output
    return folder


@pytest.fixture(scope="session")
def signed(bench, digits, tmp_path_factory):
    """The bench's configuration with its shards behind signed URLs."""
    tree = yaml.safe_load(bench.config.read_text())
    data = tree["data"]
    config = tmp_path_factory.mktemp("signed") / "erase.yaml"
    with web_server() as web:
        web.signature = SIGNATURE
        for path in digits.rglob("*.tar"):
            web.files[f"/{path.relative_to(digits)}"] = path.read_bytes()
        for place, sets in (("train", data), ("eval", data["eval"])):
            for name in ("forget", "retain"):
                last = len(list((digits / place).glob(f"{name}-*.tar"))) - 1
                pattern = f"{name}-{{000000..{last:06d}}}.tar?X-Amz-Signature={SIGNATURE}"
                sets[name] = {"shards": f"{web.url}/{place}/{pattern}"}
        config.write_text(yaml.safe_dump(tree))
        yield dataclasses.replace(bench, config=config)


@pytest.fixture(scope="session")
def fewer(signed, killed, watching):
    """The killed run from its first checkpoint on one worker, with one port a node, and with
    secrets: in URLs of its configuration and in its environment. Its folder, and what was
    answered, printed and seen. (Of a first start with signed URLs: test_remote_commands.)
    """
    signed.cut("killed", 4, "fewer")
    one_port = ["observe.per_node=true", "observe.bind=0.0.0.0", f"observe.port={free_port()}"]
    folder, grace = signed.folder("fewer"), "observe.grace_seconds=20"
    workers = ("ray.workers=1", "data.workers=2")
    secrets = {"AWS_SECRET_ACCESS_KEY": PASSWORD, "HF_TOKEN": PASSWORD}
    with command_lines() as lines:
        process = signed.start("fewer", "--resume", *workers, *one_port, grace, **secrets)
        wait_for_step(folder, 6, process)
        answers = {}
        for path in ("metrics", "targets"):
            url = f"http://127.0.0.1:{one_port[-1].partition('=')[2]}/{path}"
            with urllib.request.urlopen(url, timeout=10) as answer:
                answers[path] = answer.read().decode()
        command = [str(BIN / "dist-erase"), "watch", str(folder), "--once"]
        answers["watch"] = subprocess.run(command, capture_output=True, text=True).stdout
        answers["printed"] = finish(process)
    answers["lines"] = sorted(lines)
    return folder, answers
