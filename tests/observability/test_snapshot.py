import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from dist_erase.observability.emit import Metrics
from dist_erase.observability.snapshot import SnapshotWriter, from_text, to_text

CHILD = """
import sys, time
from pathlib import Path
from dist_erase.observability.emit import Metrics
from dist_erase.observability.snapshot import SnapshotWriter
metrics = Metrics(run="seven", role="student", rank=3)
SnapshotWriter(metrics, Path(sys.argv[1]), every_seconds=0.01)
for step in range(100000):
    metrics.step.set(step)
    time.sleep(0.001)
"""


def samples(path):
    families = from_text(path.read_text())
    return {s.name: s.value for family in families for s in family.samples}


def wait_for(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


def test_values_appear_while_the_process_lives_and_the_last_ones_stay(tmp_path):
    metrics = Metrics(run="seven", role="teacher", rank=2)
    writer = SnapshotWriter(metrics, tmp_path / "metrics", every_seconds=0.02)
    try:
        assert writer.path == tmp_path / "metrics" / f"teacher-2-{os.getpid()}.prom"
        metrics.teacher_replica_pairs_total.inc(64)
        wait_for(lambda: samples(writer.path)["dist_erase_teacher_replica_pairs_total"] == 64)
        beat = samples(writer.path)["dist_erase_heartbeat_timestamp_seconds"]
        wait_for(lambda: samples(writer.path)["dist_erase_heartbeat_timestamp_seconds"] > beat)
    finally:
        writer.close()
    # No tick falls between this and close of a second writer that never ticks.
    late = SnapshotWriter(metrics, tmp_path / "late", every_seconds=3600)
    metrics.teacher_replica_pairs_total.inc(1)
    late.close()
    late.close()
    assert samples(late.path)["dist_erase_teacher_replica_pairs_total"] == 65


def test_a_killed_process_leaves_a_whole_snapshot(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)])
    try:
        path = tmp_path / f"student-3-{child.pid}.prom"
        wait_for(lambda: path.exists() and samples(path).get("dist_erase_step", 0) > 20, 60)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert samples(path)["dist_erase_step"] > 20


def test_half_a_file_is_recognised_at_every_length():
    metrics = Metrics(run="seven", role="student", rank=0)
    metrics.loss.set(0.123456, "total")
    whole = to_text(metrics.registry.collect())
    assert from_text(whole)
    for length in range(0, len(whole), 7):
        with pytest.raises(ValueError, match="end mark"):
            from_text(whole[:length])


def test_a_folder_that_cannot_be_written_costs_one_warning_and_not_the_run(tmp_path, caplog):
    folder = tmp_path / "metrics"
    folder.write_text("a file stands where the folder should be")
    with caplog.at_level(logging.WARNING):
        writer = SnapshotWriter(Metrics(run="r", role="driver", rank=0), folder, 0.01)
        time.sleep(0.1)
        folder.unlink()
        wait_for(writer.path.exists)
        writer.close()
    assert len([r for r in caplog.records if "metrics cannot be written" in r.message]) == 1
