"""Values in a real Pushgateway, and none of them when the run is over."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.ports import free_port

from dist_erase.observability.emit import Metrics
from dist_erase.observability.exporter import Exposure, RunExporter
from dist_erase.observability.snapshot import SnapshotWriter, from_text

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus-pushgateway") is None,
    reason="no Pushgateway: apt install prometheus-pushgateway",
)


def text_of(gateway):
    with urllib.request.urlopen(f"{gateway}/metrics", timeout=5) as answer:
        return answer.read().decode()


def wait_for(condition, seconds=15.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


@pytest.fixture
def gateway():
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        ["prometheus-pushgateway", f"--web.listen-address={address}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://{address}"

    def answers():
        try:
            return bool(text_of(url))
        except OSError:
            return False

    try:
        wait_for(answers)
        yield url
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def guarded(gateway):
    """The gateway behind a server that asks for a password, and the requests it let through."""
    passed = []
    wanted = "Basic " + base64.b64encode(b"me:hush").decode()

    class Guard(BaseHTTPRequestHandler):
        def do_PUT(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Authorization") != wanted:
                self.send_error(401)
                return
            passed.append(self.command)
            kind = {"Content-Type": self.headers["Content-Type"] or "text/plain"}
            request = urllib.request.Request(
                f"{gateway}{self.path}", data=body, method=self.command, headers=kind
            )
            with urllib.request.urlopen(request, timeout=5) as answer:
                self.send_response(answer.status)
            self.end_headers()

        do_DELETE = do_PUT

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("localhost", 0), Guard)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_address[1]}", passed
    server.shutdown()
    server.server_close()


def start(tmp_path, gateway, *, grace=0.0, node=None):
    exposure = Exposure(
        run="seven", discovery=tmp_path / ".sd", pushgateway=gateway, grace_seconds=grace
    )
    return RunExporter(tmp_path / "metrics", exposure, node=node)


def test_the_password_of_a_gateway_comes_from_netrc(tmp_path, guarded, monkeypatch):
    url, passed = guarded
    (tmp_path / ".netrc").write_text("machine localhost login me password hush\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    exporter = start(tmp_path, url)
    wait_for(lambda: "PUT" in passed)
    exporter.close()
    assert passed[-1] == "DELETE"


def test_a_run_is_pushed_and_deleted_at_its_end(tmp_path, gateway):
    metrics = Metrics(run="seven", role="student", rank=1)
    metrics.samples_total.inc(16, "forget")
    metrics.pair_similarity.add([1] * 22, 3.0, "retain")
    writer = SnapshotWriter(metrics, tmp_path / "metrics")
    exporter = start(tmp_path, gateway)
    # The address adds which start of the run it is.
    mine = re.compile(r'role="student",run="seven",start="\d+",stream="forget"} 16')
    wait_for(lambda: mine.search(text_of(gateway)))
    pushed = text_of(gateway)
    assert "dist_erase_pair_similarity_count{" in pushed
    assert 'job="dist-erase"' in pushed
    writer.close()
    exporter.close()
    left = text_of(gateway)
    assert "dist_erase_" not in left
    assert 'run="seven"' not in left


def test_the_last_values_stay_for_the_time_of_grace(tmp_path, gateway):
    metrics = Metrics(run="seven", role="student", rank=0)
    writer = SnapshotWriter(metrics, tmp_path / "metrics")
    exporter = start(tmp_path, gateway, grace=1.0)
    wait_for(lambda: "dist_erase_" in text_of(gateway))
    metrics.step.set(100)
    writer.close()
    began = time.monotonic()
    exporter.close()
    assert time.monotonic() - began >= 1.0  # nobody scraped: the gateway kept them
    assert "dist_erase_" not in text_of(gateway)


def test_nodes_have_groups_of_their_own(tmp_path, gateway):
    one, other = (start(tmp_path, gateway, node=node) for node in ("a", "b"))
    wait_for(lambda: text_of(gateway).count("push_time_seconds{") == 2)
    one.close()
    assert text_of(gateway).count("push_time_seconds{") == 1
    other.close()
    assert "push_time_seconds{" not in text_of(gateway)


def test_a_gateway_that_is_not_there_costs_only_the_values(tmp_path, caplog):
    exporter = start(tmp_path, f"http://127.0.0.1:{free_port()}")
    wait_for(lambda: "observe.pushgateway" in caplog.text)

    def failures():
        families = from_text(exporter.text())
        return [
            s.value
            for family in families
            for s in family.samples
            if s.name == "dist_erase_exporter_push_failures_total"
        ]

    assert failures() == [1]
    exporter.close()
    assert failures() == [3]  # the last push and the deletion
    assert caplog.text.count("observe.pushgateway") == 1
