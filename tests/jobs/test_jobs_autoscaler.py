"""A run waits for the nodes that Ray's own autoscaler brings."""

import json
import os
import subprocess
import sys

import pytest
from support.heads import ray_head
from support.ports import free_port
from support.runs import ROOT

pytestmark = pytest.mark.integration
WAIT = """
import sys
from pathlib import Path
import ray
from dist_erase.config.load import load_config
from dist_erase.config.run import RunConfig
from dist_erase.orchestration.cluster import check_room, wait_for_room

ray.init(address=sys.argv[1], log_to_driver=False)
print("before", ray.cluster_resources().get("teacher", 0))
config = load_config(Path(sys.argv[2]), sys.argv[3:], RunConfig).config
check_room(config)
wait_for_room(config)
print("after", ray.cluster_resources().get("teacher", 0))
"""
OVERRIDES = (
    'ray.resources_per_worker={"CPU":1}',
    'ray.teacher_resources={"CPU":1,"teacher":1}',
    "ray.autoscale_seconds=90",
    "ray.workers=1",
    "teacher.replicas=1",
)

COMMANDS = (
    *("initialization_commands", "setup_commands", "cluster_synced_files"),
    *("head_setup_commands", "worker_setup_commands"),
    *("head_start_ray_commands", "worker_start_ray_commands"),
)


def test_room_that_an_autoscaler_brings_is_waited_for(tmp_path):
    port = free_port()
    none = {"min_workers": 0, "node_config": {}}
    types = {
        "ray.head.default": {"resources": {"CPU": 0}, "max_workers": 0, **none},
        "students": {"resources": {"CPU": 1}, "max_workers": 1, **none},
        "teachers": {"resources": {"CPU": 1, "teacher": 1}, "max_workers": 1, **none},
    }
    cluster = {
        "cluster_name": "fake",
        "max_workers": 2,
        "provider": {"type": "fake_multinode", "gcs_address": f"127.0.0.1:{port}"},
        "head_node_type": "ray.head.default",
        "available_node_types": types,
        **{key: {} for key in ("auth", "docker", "file_mounts")},  # `ray up` would fill these in
        **{key: [] for key in COMMANDS},
    }
    (tmp_path / "cluster.yaml").write_text(json.dumps(cluster))
    wanted = [f"--autoscaling-config={tmp_path}/cluster.yaml"]
    quick = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    with ray_head(*wanted, cpus=0, gcs=port, **quick) as head:
        done = subprocess.run(
            [sys.executable, "-c", WAIT, head.gcs, ROOT / "configs/quickstart.yaml", *OVERRIDES],
            env=os.environ | {"RAY_AUTH_MODE": "disabled"},
            capture_output=True,
            text=True,
            timeout=150,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["before", "0", "after", "1.0"]
