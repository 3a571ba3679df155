"""Runs over several hosts, which are drained and lost: by `deepspeed` over ssh, and on Ray.

The hosts are network namespaces of this machine, see support/hosts.py.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from support.hosts import DEVICE, hosts, not_permitted, ssh
from support.runs import (
    BIN,
    ROOT,
    finish,
    held,
    largest_difference,
    rows,
    saved,
    steps,
    wait_for_step,
    wait_until,
)

_REASON = not_permitted()
pytestmark = [
    pytest.mark.integration,
    pytest.mark.operations,
    pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
]

LOST_SECONDS = 240.0  # after so long the run has ended, or goes on elsewhere
RAY = {
    # As docs/how-to-recover.md advises: 65 s until a host is called lost are some 15 s by these.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "5",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "110",  # as in launchers/ray/kuberay
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5",
    "RAY_AUTH_MODE": "disabled",  # or Ray takes a token that lies in the home folder
}


def environment():
    return os.environ | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GLOO_SOCKET_IFNAME": DEVICE,
        "DS_ACCELERATOR": "cpu",
    }


def test_a_launch_over_ssh_survives_a_cut_cable_on_fewer_hosts(
    light, sgd, light_reference, tmp_path
):
    folder = light.folder("two-hosts")
    with hosts(2) as (one, two), ssh([one, two], tmp_path / "ssh") as ssh_config:
        hostfile, variables = tmp_path / "hosts", tmp_path / "variables"
        hostfile.write_text(f"{one.address} slots=1\n{two.address} slots=1\n")
        passed_on = ("PATH", "GLOO_SOCKET_IFNAME", "DS_ACCELERATOR", "OMP_NUM_THREADS")
        variables.write_text("".join(f"{name}={environment()[name]}\n" for name in passed_on))
        outside = environment() | {
            "DS_ENV_FILE": str(variables),
            "PDSH_SSH_ARGS_APPEND": f"-F {ssh_config}",
        }
        launch = [sys.executable, str(ROOT / "launchers" / "deepspeed" / "launch.py")]
        launch += ["--hostfile", str(hostfile), "--no_ssh_check", "--master_addr", one.address]
        run = ["--config", str(light.config), "run.name=two-hosts", *sgd]
        run += ["train.rank_timeout_seconds=30"]

        both = ["--include", f"{one.address}:0@{two.address}:0"]
        process = one.start(*launch, *both, *run, cwd=ROOT, env=outside)
        wait_for_step(folder, 5, process)
        two.cut()
        cut = time.monotonic()
        output = finish(process, expect=75)
        assert time.monotonic() - cut < LOST_SECONDS
        assert f"{one.address}: rank 0: lost contact with the other ranks" in output
        newest = saved(folder)[-1]
        assert 4 <= newest < 16
        said = f"step {newest} is saved; the same command with --resume goes on, also on fewer"
        assert said in output
        assert "Traceback" not in output

        logs = tmp_path / "logs"
        on_one = ["--exclude", two.address, "--force_multi", "--enable_each_rank_log", str(logs)]
        finish(one.start(*launch, *on_one, *run, "--resume", cwd=ROOT, env=outside))
        (log,) = logs.glob("*_rank0.log")
        assert "report.html" in log.read_text()
    starts = [row for row in rows(folder) if row.get("event") == "start"]
    assert [row["step"] for row in starts] == [0, newest]
    assert "world size 1" in starts[1]["message"]
    assert largest_difference(folder, light_reference) <= 1e-6


def ray_on(host, head, resources, folder):
    """A node of a Ray cluster that has joined it; the head where `head` is the host itself."""
    words = [str(BIN / "ray"), "start", "--block", "--num-cpus", "3", "--disable-usage-stats"]
    words += ["--node-ip-address", host.address, "--object-store-memory", "100000000"]
    words += ["--resources", json.dumps(resources)]
    place = tempfile.mkdtemp(dir=folder)  # its sockets' names must stay short
    words += ["--temp-dir", place]
    if host is head:
        words += ["--head", "--port", "6390", "--dashboard-host", host.address]
    else:
        words += ["--address", f"{head.address}:6390"]
    log = Path(place) / "start.log"
    with log.open("w") as stream:
        node = host.start(*words, stdout=stream, env=environment() | RAY)
    wait_until(
        lambda: "Ray runtime started" in log.read_text() or node.poll() is not None, "no node"
    )
    assert node.poll() is None, log.read_text()
    return node


def events(folder, kind):
    return [row for row in rows(folder) if row.get("event") == kind]


def test_a_run_on_a_ray_cluster_over_hosts_leaves_one_and_loses_another(
    light, light_reference, sgd
):
    """Students on one host, teachers on another, the job from a third."""
    folder = light.folder("ray-hosts")
    with hosts(3) as (head, first, second), tempfile.TemporaryDirectory(dir="/tmp") as short:
        job = [str(BIN / "ray"), "job", "submit", "--address", f"http://{head.address}:8265"]
        job += ["--", str(BIN / "dist-erase"), "run", str(light.config), *sgd]
        job += ["run.name=ray-hosts", "ray.address=auto"]
        job += ["ray.resources_per_worker={CPU: 1, student: 1}"]
        job += ["ray.teacher_resources={CPU: 0.5, teacher: 1}"]
        ray_on(head, head, {"teacher": 2}, short)
        node = ray_on(first, head, {"student": 2}, short)
        process = subprocess.Popen(
            job,
            cwd=ROOT,
            env=environment() | RAY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_for_step(folder, 3, process)
        with held("ray::TeacherReplica"):  # no step is done until the notice has come through
            ray_on(second, head, {"student": 2}, short)
            node.send_signal(signal.SIGTERM)  # Kubernetes' word to a pod; Ray drains the node
            time.sleep(15)
        wait_until(lambda: len(events(folder, "start")) == 2, "it did not go on elsewhere")
        (drained,) = events(folder, "interrupted")

        wait_for_step(folder, drained["step"] + 1, process)
        with held("ray::TeacherReplica"):
            ray_on(first, head, {"student": 2}, short)
            second.cut()
            cut = time.monotonic()
        wait_until(lambda: len(events(folder, "start")) == 3, "it did not start again")
        assert time.monotonic() - cut < LOST_SECONDS
        output = finish(process)
    assert "succeeded" in output
    assert "going on on other nodes" in output
    asked = r"asked to stop by the drain of node \w{8} \(ranks 0, 1\)"
    assert re.match(asked, drained["message"])
    starts = events(folder, "start")
    assert starts[1]["step"] == drained["step"]  # nothing was lost
    assert max(steps(folder)) == 16
    # The reference knows neither Ray nor several hosts.
    assert largest_difference(folder, light_reference) <= 1e-6


def test_the_runs_moved_the_weights(light, light_reference):
    assert largest_difference(light_reference, light.runs / "original") > 1e-4
