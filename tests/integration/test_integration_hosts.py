"""A run over several hosts by `deepspeed` over ssh, of which one is lost.

The hosts are network namespaces of this machine, see support/hosts.py.
"""

import os
import sys
import time

import pytest
from support.hosts import DEVICE, hosts, not_permitted, ssh
from support.runs import (
    BIN,
    ROOT,
    finish,
    largest_difference,
    rows,
    wait_for_step,
)

_REASON = not_permitted()
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
]

LOST_SECONDS = 90.0  # after so long the run has ended


def environment():
    return os.environ | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GLOO_SOCKET_IFNAME": DEVICE,
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "1",
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
        run += ["train.rank_timeout_seconds=10"]

        both = ["--include", f"{one.address}:0@{two.address}:0"]
        process = one.start(*launch, *both, *run, cwd=ROOT, env=outside)
        wait_for_step(folder, 5, process)
        two.cut()
        cut = time.monotonic()
        output = finish(process, expect=75)
        assert time.monotonic() - cut < LOST_SECONDS
        assert f"{one.address}: rank 0: lost contact with the other ranks" in output
        assert "step 4 is saved; the same command with --resume goes on, also on fewer" in output
        assert "Traceback" not in output

        logs = tmp_path / "logs"
        on_one = ["--exclude", two.address, "--force_multi", "--enable_each_rank_log", str(logs)]
        finish(one.start(*launch, *on_one, *run, "--resume", cwd=ROOT, env=outside))
        (log,) = logs.glob("*_rank0.log")
        assert "report.html" in log.read_text()
    starts = [row for row in rows(folder) if row.get("event") == "start"]
    assert [row["step"] for row in starts] == [0, 4]
    assert "world size 1" in starts[1]["message"]
    assert largest_difference(folder, light_reference) <= 1e-6


def test_the_runs_moved_the_weights(light, light_reference):
    assert largest_difference(light_reference, light.runs / "original") > 1e-4
