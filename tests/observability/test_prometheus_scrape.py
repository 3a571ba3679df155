"""A real Prometheus, with the configuration we ship, finds a run and answers about it."""

import shutil
import subprocess
import urllib.request

import pytest
from support.prometheus import INSTALLED, MONITORING, prometheus

from dist_erase.observability.emit import Metrics
from dist_erase.observability.exporter import Exposure, RunExporter
from dist_erase.observability.snapshot import SnapshotWriter

pytestmark = pytest.mark.skipif(not INSTALLED, reason="no prometheus: apt install prometheus")


@pytest.fixture
def server(tmp_path):
    """Prometheus, started before any run."""
    (tmp_path / "its").mkdir()
    with prometheus(tmp_path / "its", tmp_path / "runs", "1s") as started:
        yield started


def test_the_alerts_links_lead_to_the_runbook(server):
    (group,) = server.get("rules", type="alert")["groups"]
    rules = [rule["name"] for rule in group["rules"]]
    with urllib.request.urlopen(f"{server.url}/user/runbook.md", timeout=10) as answer:
        text = answer.read().decode()
    assert rules
    for name in rules:
        assert f"## {name}\n" in text


def test_prometheus_finds_a_run_by_file_sd_and_gets_its_last_values(server, tmp_path):
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

    (found,) = server.wait_for('dist_erase_loss{run="seven",term="forgetting"}')
    labels = found["metric"]
    assert float(found["value"][1]) == 0.25
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
    (total,) = server.wait_for(both)
    assert (total["metric"], float(total["value"][1])) == ({"run": "seven"}, 33.0)
    buckets = "max_over_time(dist_erase_step_seconds_bucket[1m])"
    (median,) = server.instant(f"histogram_quantile(0.5, sum by (le) ({buckets}))")
    assert 0.5 < float(median["value"][1]) <= 1.0


@pytest.fixture
def shipped(tmp_path):
    """A copy of monitoring/ in which all files that runs and Ray write are there."""
    shutil.copytree(MONITORING, tmp_path / "monitoring")
    for path in ("runs/.file_sd/x.json", "ray/prom_metrics_service_discovery.json"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("[]")
    config = tmp_path / "monitoring/prometheus/prometheus.yml"
    text = config.read_text()
    assert "/tmp/ray/session_latest/" in text
    config.write_text(text.replace("/tmp/ray/session_latest/", f"{tmp_path}/ray/"))
    return config


def promtool(*arguments):
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True)


def test_the_shipped_configuration_is_valid(shipped):
    check = promtool("check", "config", "--lint-fatal", shipped)
    assert check.returncode == 0, check.stdout + check.stderr
    assert "WARNING" not in check.stdout + check.stderr
    assert "1 rule files found" in check.stdout


def test_the_shown_discovery_by_http_is_valid_too(shipped):
    text = shipped.read_text()
    begin = text.index("    # http_sd_configs:")
    shown = text[begin : text.index("\n\n", begin)]
    shipped.write_text(text.replace(shown, shown.replace("    # ", "    ")))
    assert "\n    http_sd_configs:\n" in shipped.read_text()
    check = promtool("check", "config", "--lint-fatal", shipped)
    assert check.returncode == 0, check.stdout + check.stderr
