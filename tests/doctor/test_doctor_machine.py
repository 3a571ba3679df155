"""Checks of a machine, each made to fail for real: limits, small disks, dead jobs' leftovers."""

from __future__ import annotations

import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.web import web_server

from dist_erase.config.run import RunConfig
from dist_erase.errors import UserError
from dist_erase.orchestration.doctor import disk, leftovers, limits, ports, versions
from dist_erase.orchestration.doctor.needs import run_bytes
from dist_erase.orchestration.doctor.row import Check, ok, rows_of

# On a file system of 1 MB, in a mount namespace of its own.
SMALL_DISK = "mount -t tmpfs -o size=1M tmpfs {at} && exec {python} -c '{code}'"
TELL = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from dist_erase.orchestration.doctor import disk, limits
from dist_erase.config.run import RunConfig
config = RunConfig.model_validate(json.load(sys.stdin))
print(json.dumps([asdict(row) for row in %s]))
"""


def the_only(rows):
    (row,) = rows
    return row


def told(command: list[str], config: RunConfig) -> list[dict]:
    """The rows that TELL prints in another process."""
    done = subprocess.run(
        command, input=config.model_dump_json(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    rows: list[dict] = json.loads(done.stdout)
    return rows


def on_a_small_disk(at: Path, look: str, config: RunConfig) -> list[dict]:
    command = SMALL_DISK.format(at=at, python=sys.executable, code=TELL % look)
    allowed = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--mount", "-r"]
    if subprocess.run([*allowed, "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody make a mount namespace")
    return told([*allowed, "sh", "-c", command], config)


def test_versions_that_do_not_fit_are_named():
    row = the_only(versions.check_versions(["rich>=1", "psutil>=999", "no-such-package>=1"]))
    assert row.state == "fail"
    assert "rich" not in row.found
    assert f"psutil is {versions.metadata.version('psutil')}, >=999 needed" in row.found
    assert "no-such-package is not installed" in row.found
    old = the_only(versions.check_versions([], python=">=9"))
    assert (old.state, old.found.startswith("Python 3.")) == ("fail", True)
    assert the_only(versions.check_versions(["rich>=1; extra == 'x'"])).state == "ok"


def test_what_is_installed_fits_what_the_project_asks_for():
    row = the_only(versions.check_versions())
    assert row.state == "ok", row.found
    assert "deepspeed 0." in row.found


def test_a_machine_without_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    row = the_only(versions.check_compiler(gpu=False))
    assert row.state == "fail"
    assert "a C++ compiler (g++)" in row.found
    assert "apt-get install g++" in row.mend
    assert list(versions.check_compiler(gpu=True)) == []


@pytest.mark.parametrize(("limit", "state"), [(100, "fail"), (1024, "warn"), (5000, "ok")])
def test_the_limit_of_open_files(config, limit, state):
    code = TELL % "limits.check_files()"
    limited = f"ulimit -n {limit}; exec {sys.executable} -c '{code}'"
    row = the_only(told(["bash", "-c", limited], config))
    assert row["state"] == state
    assert row["found"].startswith(f"{limit:,} open files allowed")
    assert state == "ok" or "ulimit -n 65536" in row["mend"]


def test_the_container_limits_processes(tmp_path):
    (tmp_path / "pids.max").write_text("200\n")
    (tmp_path / "pids.current").write_text("150\n")
    row = the_only(limits.check_processes(tmp_path))
    assert row.state == "fail"
    assert "only 50 more processes" in row.found
    (tmp_path / "pids.max").write_text("max\n")
    assert the_only(limits.check_processes(tmp_path)).state == "ok"


def test_memory_for_the_processes_of_an_embedded_run(tmp_path, config):
    (tmp_path / "memory.max").write_text(f"{3 * 10**9}\n")
    (tmp_path / "memory.current").write_text(f"{10**9}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {10**8}\n")
    row = the_only(limits.check_memory(config, tmp_path))
    assert row.state == "warn"
    assert "2.1 GB available; 4 processes" in row.found
    assert the_only(limits.check_memory(None, tmp_path)).state == "ok"


def test_little_shared_memory(config):
    small = on_a_small_disk(
        Path("/dev/shm"), "limits.check_shared_memory(config, gpu=False)", config
    )
    assert small[0]["state"] == "fail"
    assert "1 MB free of 1 MB in /dev/shm; the run needs about" in small[0]["found"]
    assert "--shm-size" in small[0]["mend"]
    assert limits.shared_bytes(config, gpu=False) > limits.shared_bytes(config, gpu=True) > 10**6
    assert limits.shared_bytes(None, gpu=True) == 0


def test_a_disk_without_room_for_checkpoints(tmp_path, config):
    at = tmp_path / "runs"
    at.mkdir()
    row = on_a_small_disk(at, "[disk.space_row(config, 10**6)]", config)[0]
    assert row["state"] == "fail"
    # 2 kept and one being written, of weights and two moments; and the model.
    assert run_bytes(config, 10**6) == 3 * 12 * 10**6 + 4 * 10**6
    assert "1 MB free" in row["found"]
    assert "3 checkpoints of 12 MB and the model take 40 MB (1.0 M parameters)" in row["found"]
    assert disk.space_row(config, 10).state == "ok"
    assert on_a_small_disk(at, "disk.check_temporary(Path(config.run.dir))", config)[0][
        "state"
    ] == ("fail")


def test_sgd_keeps_no_moments_and_live_evaluation_one_more(tree):
    tree["train"] = {"optimizer": "sgd", "checkpoint": {"keep_last": 1}}
    tree["evaluate"] = {"every_steps": 5}
    config = RunConfig.model_validate(tree)
    assert run_bytes(config, 10) == 3 * 40 + 40


def test_run_dir_is_really_written_and_left_as_it_was(tmp_path, config):
    row = the_only(disk.check_writing(config))
    assert row.state == "ok"
    assert f"to be made in {tmp_path}" in row.found
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


def test_a_run_dir_that_cannot_be_written(tree):
    tree["run"]["dir"] = "/proc/runs"  # nor can root
    row = the_only(disk.check_writing(RunConfig.model_validate(tree)))
    assert row.state == "fail"
    assert row.found.startswith("/proc/runs (to be made in /proc) cannot be written: ")


def test_a_full_block_cache(tree, tmp_path):
    tree["data"]["block_cache"] = {"dir": str(tmp_path / "blocks"), "max_bytes": "9000TB"}
    rows = {row.check: row for row in disk.check_space(RunConfig.model_validate(tree))}
    assert rows["block cache"].state == "warn"
    assert "which may take 9,000,000.0 GB" in rows["block cache"].found


@pytest.fixture
def orphan():
    """A rank's process whose launcher has ended."""
    script = (
        "LOCAL_RANK=0 {python} -c 'import time; time.sleep(60)' "
        "dist_erase.orchestration.deepspeed_entry >/dev/null 2>&1 & echo $!"
    )
    done = subprocess.run(
        ["sh", "-c", script.format(python=sys.executable)],
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    pid = int(done.stdout)
    yield pid
    os.kill(pid, signal.SIGKILL)


def test_a_rank_whose_launcher_is_gone(orphan):
    deadline = time.monotonic() + 10
    while (row := the_only(leftovers.check_processes_left())).state == "ok":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert row.state == "warn"
    assert f"rank {orphan}" in row.found
    assert str(orphan) in row.mend


def test_a_rank_with_its_launcher_is_no_leftover():
    words = ["-c", "import time; time.sleep(60)", "dist_erase.orchestration.deepspeed_entry"]
    environment = os.environ | {"LOCAL_RANK": "0"}
    process = subprocess.Popen([sys.executable, *words], env=environment)
    try:
        assert str(process.pid) not in the_only(leftovers.check_processes_left()).found
    finally:
        process.kill()
        process.wait()


def test_shared_memory_that_nobody_uses():
    path = Path(f"/dev/shm/psm_doctor{os.getpid()}")
    path.write_bytes(bytes(4096))
    try:
        assert path.name not in the_only(leftovers.check_segments_left()).mend  # just made
        os.utime(path, (0, 0))
        with path.open("r+b") as stream, mmap.mmap(stream.fileno(), 4096):
            assert path.name not in the_only(leftovers.check_segments_left()).mend
        row = the_only(leftovers.check_segments_left())
        assert row.state == "warn"
        assert str(path) in row.mend
    finally:
        path.unlink()


def test_a_noted_cluster_that_is_gone(tmp_path):
    note = tmp_path / "ray_current_cluster"
    assert list(leftovers.check_noted_cluster(note)) == []
    with socket.create_server(("127.0.0.1", 0)) as server:
        note.write_text(f"127.0.0.1:{server.getsockname()[1]}")
        assert the_only(leftovers.check_noted_cluster(note)).state == "ok"
    row = the_only(leftovers.check_noted_cluster(note))
    assert (row.state, row.mend) == ("warn", f"If that cluster is gone: rm {note}")


def test_a_taken_metrics_port(tree):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        tree["observe"] = {"port": port}
        row = next(iter(ports.check_ports(RunConfig.model_validate(tree))))
    assert row.state == "fail"
    assert f"cannot listen on 127.0.0.1 port {port}" in row.found


def test_services_that_settings_name(tree, tmp_path, monkeypatch):
    with web_server() as web:
        web.files["/-/ready"] = b"ready"
        tree["observe"] = {"pushgateway": web.url, "bind": "0.0.0.0"}
        monkeypatch.setenv("RAY_PROMETHEUS_HOST", web.url)
        config = RunConfig.model_validate(tree)
        rows = {row.check: row for row in ports.check_services(config)}
    assert [rows[name].state for name in ("Pushgateway", "Prometheus")] == ["ok", "ok"]
    assert rows["metrics address is open"].state == "warn"
    gone = {row.check: row for row in ports.check_services(config)}
    assert [gone[name].state for name in ("Pushgateway", "Prometheus")] == ["warn", "warn"]
    assert "observe.pushgateway" in gone["Pushgateway"].mend


def test_a_check_that_hangs_or_fails_is_a_row():
    def fails(error):
        raise error

    begin = time.monotonic()
    rows = list(
        rows_of(
            [
                Check(name="hangs", look=lambda: time.sleep(9) or [], seconds=0.3),
                Check(name="user", look=lambda: fails(UserError("a.b", "is c.", "Mend it."))),
                Check(name="file", look=lambda: fails(PermissionError(13, "denied", "/x"))),
                Check(name="bug", look=lambda: fails(KeyError("https://h/?sig=hush"))),
                Check(name="fine", look=lambda: [ok("fine", "well")]),
            ]
        )
    )
    assert time.monotonic() - begin < 5
    assert [row.state for row in rows] == ["fail"] * 4 + ["ok"]
    assert rows[0].found == "no answer within 0.3 s"
    assert (rows[1].found, rows[1].mend) == ("a.b: is c.", "Mend it.")
    assert rows[2].found == "/x: denied"
    assert "KeyError" in rows[3].found
    assert "hush" not in rows[3].found
