"""A real Prometheus with the configuration that we ship, and its HTTP API."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.ports import free_port

MONITORING = Path(__file__).parents[2] / "monitoring"
INSTALLED = shutil.which("prometheus") is not None
_QUICKER = {
    "scrape_interval: 5s": "scrape_interval: {interval}\n  scrape_timeout: {interval}",
    "evaluation_interval: 15s": "evaluation_interval: 1s",
    "refresh_interval: 10s": "refresh_interval: 1s",
}


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    url: str
    log: Path

    def get(self, path: str, **parameters: str) -> Any:
        """The API's answer; AssertionError with Prometheus' own words when it refuses."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}\n{error.read().decode()}") from None

    def instant(self, expr: str, time: float | None = None) -> list[dict[str, Any]]:
        """The series of an instant query, {"metric": labels, "value": [time, text]} each."""
        at = {} if time is None else {"time": str(time)}
        return vector(self.get("query", query=expr, **at))

    def over(self, expr: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """The series of a range query, {"metric": labels, "values": [[time, text], …]} each."""
        given = {"query": expr, "start": str(start), "end": str(end), "step": str(step)}
        answer: list[dict[str, Any]] = self.get("query_range", **given)["result"]
        return answer

    def wait_for(self, expr: str, seconds: float = 30.0) -> list[dict[str, Any]]:
        """The first answer that is not empty."""
        end = time.monotonic() + seconds
        while not (answer := self.instant(expr)):
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)
        return answer


def vector(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The result of an instant query; a scalar as one series without labels."""
    if data["resultType"] == "scalar":
        return [{"metric": {}, "value": data["result"]}]
    result: list[dict[str, Any]] = data["result"]
    return result


@contextmanager
def prometheus(folder: Path, runs: Path, interval: str) -> Iterator[Prometheus]:
    """Prometheus in `folder`, laid out as a repository whose runs/ is `runs`.

    The intervals are shorter than shipped, so that a test is; nothing else is changed.
    """
    shutil.copytree(MONITORING, folder / "monitoring", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "runs").symlink_to(runs)
    config = folder / "monitoring/prometheus/prometheus.yml"
    text = config.read_text()
    for shipped, quicker in _QUICKER.items():
        assert shipped in text
        text = text.replace(shipped, quicker.format(interval=interval))
    config.write_text(text)
    address = f"127.0.0.1:{free_port()}"
    log = folder / "prometheus.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address={address}",
                f"--web.user-assets={MONITORING.parent / 'docs'}",
            ],
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_ready(f"http://{address}", process, log)
            yield Prometheus(f"http://{address}", log)
        finally:
            process.terminate()
            process.wait(20)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=5):
                return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
