"""A real Prometheus, with the configuration we ship, finds a run and answers about it."""

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from dist_erase.observability.emit import Metrics
from dist_erase.observability.exporter import Exposure, RunExporter
from dist_erase.observability.snapshot import SnapshotWriter

CONFIG = Path(__file__).parents[2] / "monitoring/prometheus/prometheus.yml"

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no prometheus: apt install prometheus"
)


@pytest.fixture
def prometheus(tmp_path):
    """Base URL of a Prometheus started in tmp_path as in a repository, before any run."""
    config = tmp_path / "monitoring/prometheus/prometheus.yml"
    config.parent.mkdir(parents=True)
    text = CONFIG.read_text()
    assert "scrape_interval: 5s" in text
    assert "refresh_interval: 10s" in text
    # Quicker than shipped, so that the test is; nothing else is changed.
    quick = text.replace("scrape_interval: 5s", "scrape_interval: 200ms\n  scrape_timeout: 200ms")
    config.write_text(quick.replace("refresh_interval: 10s", "refresh_interval: 1s"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    log = (tmp_path / "prometheus.log").open("wb")
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address={address}",
        ],
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def query(base, promql):
    """The answer's [(labels, value)]; [] while Prometheus is starting."""
    url = f"{base}/api/v1/query?" + urllib.parse.urlencode({"query": promql})
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            answer = json.load(response)
    except OSError:
        return []
    assert answer["status"] == "success"
    return [(r["metric"], float(r["value"][1])) for r in answer["data"]["result"]]


def wait_for_answer(base, promql, tmp_path, seconds=30.0):
    end = time.monotonic() + seconds
    while not (answer := query(base, promql)):
        assert time.monotonic() < end, (tmp_path / "prometheus.log").read_text()
        time.sleep(0.1)
    return answer


def test_prometheus_finds_a_run_by_file_sd_and_gets_its_last_values(prometheus, tmp_path):
    folder = tmp_path / "runs/seven/metrics"
    exporter = RunExporter(
        folder,
        Exposure(
            run="seven",
            discovery=tmp_path / "runs/.file_sd",
            grace_seconds=30,
            ray_job_id="01000000",
        ),
    )
    ranks = [Metrics(run="seven", role="student", rank=rank) for rank in (0, 1)]
    writers = [SnapshotWriter(metrics, folder, every_seconds=0.1) for metrics in ranks]
    for metrics in ranks:
        metrics.samples_total.inc(16, "forget")
        metrics.phase_seconds_total.inc(0.5, "forward")
        metrics.step_seconds.observe(0.7)
    ranks[0].loss.set(0.25, "forgetting")

    ((labels, value),) = wait_for_answer(
        prometheus, 'dist_erase_loss{run="seven",term="forgetting"}', tmp_path
    )
    assert value == 0.25
    assert labels["role"] == "student"
    assert labels["rank"] == "0"
    assert labels["job"] == "dist-erase"
    assert labels["instance"] == exporter.address
    assert not [name for name in labels if name.startswith("exported_")]

    # A value set just before the end is scraped during the grace.
    ranks[0].samples_total.inc(1, "forget")
    for writer in writers:
        writer.close()
    exporter.close()
    both = 'sum by (run) (last_over_time(dist_erase_samples_total{stream="forget"}[1m])) == 33'
    assert wait_for_answer(prometheus, both, tmp_path) == [({"run": "seven"}, 33.0)]
    buckets = "max_over_time(dist_erase_step_seconds_bucket[1m])"
    slowest = f"histogram_quantile(0.5, sum by (le) ({buckets}))"
    ((_, median),) = query(prometheus, slowest)
    assert 0.5 < median <= 1.0


def test_the_shipped_configuration_is_valid(tmp_path):
    (tmp_path / "runs/.file_sd").mkdir(parents=True)
    (tmp_path / "runs/.file_sd/x.json").write_text("[]")
    config = tmp_path / "monitoring/prometheus/prometheus.yml"
    config.parent.mkdir(parents=True)
    shutil.copy(CONFIG, config)
    check = subprocess.run(
        ["promtool", "check", "config", "--lint-fatal", str(config)], capture_output=True, text=True
    )
    assert check.returncode == 0, check.stdout + check.stderr
    assert "WARNING" not in check.stdout + check.stderr
