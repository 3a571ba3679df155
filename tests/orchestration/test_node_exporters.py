"""An exporter on each machine of a real Ray cluster; the second one is a host name of its own."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import ray

from dist_erase.config.run import ObserveConfig
from dist_erase.errors import UserError
from dist_erase.observability.emit import Metrics
from dist_erase.observability.exporter import RunExporter
from dist_erase.observability.snapshot import SnapshotWriter, on_this_node
from dist_erase.orchestration.node_exporters import NodeExporters
from dist_erase.orchestration.watching import exposure, metrics_folder

pytestmark = pytest.mark.integration
OTHER = "other-machine"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def other_machine(ray_cluster):
    """A second raylet of the test session's cluster, that believes to be on another host."""
    start = f"hostname {OTHER} && exec {BIN}/ray start --address={ray_cluster} --num-cpus=1 --block"
    start += """ --resources='{"other": 4}' --disable-usage-stats"""
    process = subprocess.Popen(
        ["unshare", "--map-root-user", "--uts", "sh", "-c", start],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        wait_for(lambda: OTHER in {n["NodeManagerHostname"] for n in ray.nodes() if n["Alive"]})
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.1)


def get(address, path="/metrics"):
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
        return answer.read().decode()


@ray.remote(num_cpus=0, resources={"other": 1})
class Student:
    """A process of the run on the other machine."""

    def __init__(self, folder: Path) -> None:
        self._metrics = Metrics(run="seven", role="student", rank=1)
        self._writer = SnapshotWriter(self._metrics, folder)

    def end(self, step: int) -> str:
        self._metrics.step.set(step)
        self._writer.close()
        return platform.node()


def test_each_machine_serves_its_own_processes(other_machine, tmp_path):
    observe = ObserveConfig(per_node=True, bind="0.0.0.0", grace_seconds=0)
    run = tmp_path / "runs" / "seven"
    at = metrics_folder(observe, run)
    shown = exposure(observe, run, ray_job_id="01")
    here = SnapshotWriter(Metrics(run="seven", role="student", rank=0), at)
    driver = RunExporter(at, shown)
    exporters = NodeExporters(at, shown)
    with exporters:
        addresses = exporters.addresses()
        assert list(addresses) == [OTHER]
        student = Student.remote(at)
        assert ray.get(student.end.remote(41)) == OTHER
        ray.kill(student)  # ended, and still shown
        there = get(addresses[OTHER])
        step = f'dist_erase_step{{node="{OTHER}",rank="1",role="student",run="seven",start="'
        started = f"{shown.started:.0f}"
        assert f'{step}{started}"}} 41' in there
        assert 'role="student"' in (mine := get(driver.address))
        assert f'start="{started}"' in mine
        assert f'node="{platform.node()}"' in mine
        assert OTHER not in mine
        listed = {
            t for group in json.loads(get(driver.address, "/targets")) for t in group["targets"]
        }
        assert listed == {driver.address, addresses[OTHER]}
        file_sd = tmp_path / "runs" / ".file_sd" / f"seven@{OTHER}.json"
        [group] = json.loads(file_sd.read_text())
        assert group["targets"] == [addresses[OTHER]]
        assert group["labels"] == {"__meta_dist_erase_run": "seven", "ray_job_id": "01"}
    here.close()
    driver.close()
    exporters.wait()
    assert not file_sd.exists()
    assert not (at.parent / OTHER).exists()
    assert on_this_node(at).exists()  # the driver's own, which `watched` removes


def test_a_port_that_is_taken_there_is_a_user_error(other_machine, tmp_path):
    observe = ObserveConfig(per_node=True, bind="0.0.0.0", grace_seconds=0)
    run = tmp_path / "runs" / "seven"
    at = metrics_folder(observe, run)
    driver = RunExporter(at, exposure(observe, run))
    port = int(driver.address.rpartition(":")[2])
    taken = exposure(observe.model_copy(update={"port": port}), run)
    with pytest.raises(UserError, match=r"observe\.per_node: no metrics address on other-machine"):
        NodeExporters(at, taken).__enter__()
    driver.close()
