"""One scrape address for a run, or for a run's processes on one node: the merge of snapshots.

Prometheus finds the address by a file_sd file, or by http_sd at /targets.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric

from dist_erase import storage
from dist_erase.observability.definitions.kinds import START
from dist_erase.observability.emit import Metrics
from dist_erase.observability.merge import labelled, merge
from dist_erase.observability.pushing import Pusher
from dist_erase.observability.server import Answer, Server
from dist_erase.observability.snapshot import from_text, on_this_node, to_text, without_created
from dist_erase.observability.watchers import Watchers
from dist_erase.observability.web_config import load_web_config

# Prometheus' default scrape interval: an exporter that old and never scraped has no Prometheus.
_NOBODY_SCRAPES_SECONDS = 60.0
_EXIT_CODE = "\ndist_erase_run_exit_code{"


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """How and where a run's metrics are shown; travels to other nodes.

    Attributes:
        run: name of the run.
        discovery: folder of Prometheus's file_sd files, on a file system that it sees too.
        bind: address to listen on; 0.0.0.0 or :: for every interface.
        port: 0 takes a free one.
        grace_seconds: how long the end waits for a last scrape.
        web_config: file with TLS and passwords; None = neither.
        pushgateway: URL to push to; None = nowhere.
        ray_job_id: becomes a label of the target; "" without Ray.
        started: Unix time of this start of the run; becomes the label `start` of every series, so
            that queries can tell it from earlier ones, whatever else is the same.
    """

    run: str
    discovery: Path
    bind: str = "127.0.0.1"
    port: int = 0
    grace_seconds: float = 0.0
    web_config: str | None = None
    pushgateway: str | None = None
    ray_job_id: str = ""
    started: float = field(default_factory=time.time)

    def file_sd(self, node: str | None) -> Path:
        """The file of the whole run's address, or of one node's."""
        return self.discovery / f"{self.run}{'' if node is None else f'@{node}'}.json"


class RunExporter:
    """Serves metrics over HTTP from a thread, until `close`.

    Args:
        folder: where processes write their snapshots; need not exist yet.
        exposure: how.
        node: the machine whose processes these are; None = those of the whole run.

    Attributes:
        address: HOST:PORT.
        url: of the metrics.

    Raises:
        UserError: the address cannot be listened on, or the web configuration is not usable.
    """

    def __init__(self, folder: Path, exposure: Exposure, *, node: str | None = None) -> None:
        self._folder = on_this_node(folder)
        self._exposure = exposure
        self._file_sd = exposure.file_sd(node)
        self._own = Metrics(run=exposure.run, role="exporter", rank=0)
        self._own.run_start_timestamp_seconds.set(exposure.started)
        self._started = time.monotonic()
        self._is_whole_run = node is None
        self._watchers = Watchers()
        self._scraped = threading.Event()
        self._ended = threading.Event()
        self._scraped_after_end = threading.Event()
        web = load_web_config(exposure.web_config)
        self._server = Server(exposure.bind, exposure.port, web=web, answer=self._answer)
        self.address = self._server.address
        self.url = f"{'http' if web.tls is None else 'https'}://{self.address}/metrics"
        self._scheme = {} if web.tls is None else {"__scheme__": "https"}
        storage.write_json(self._file_sd, [self._target()])
        self._pusher = None
        if exposure.pushgateway is not None:
            group = {"run": exposure.run} | ({} if node is None else {"node": node})
            self._pusher = Pusher(
                exposure.pushgateway,
                group,
                self._merged,
                lambda: self._own.exporter_push_failures_total.inc(1),
            )

    def targets(self) -> list[dict[str, Any]]:
        """Service discovery of the whole run: this address, and those of other nodes."""
        found = [self._target()]
        run, folder = self._exposure.run, self._exposure.discovery
        for path in sorted([folder / f"{run}.json", *folder.glob(f"{run}@*.json")]):
            if path != self._file_sd and path.exists():
                try:
                    found += json.loads(path.read_text(encoding="utf-8"))
                except (OSError, ValueError):
                    continue  # removed since it was listed
        return found

    def text(self) -> str:
        """All current values; what GET /metrics answers."""
        return to_text(self._merged())

    def close(self) -> None:
        """Serves until one more scrape, or for the time of grace, then stops.

        All other processes must have written their last snapshot. There is no waiting where
        nobody has scraped for a minute or longer, unless values lie in a Pushgateway. Whoever is
        watching is told the end first.
        """
        if self._ended.is_set():
            return
        self._ended.set()
        began = time.monotonic()
        with ExitStack() as after:  # runs them all, the last first, whatever one of them raises
            after.callback(self._server.close)
            after.callback(self._file_sd.unlink, missing_ok=True)
            if self._pusher is not None:
                after.callback(self._pusher.delete)
                self._pusher.last()

            def left() -> float:
                return max(0.0, self._exposure.grace_seconds - (time.monotonic() - began))

            self._watchers.wait(left())
            age = began - self._started
            if self._scraped.is_set() or age < _NOBODY_SCRAPES_SECONDS:
                self._scraped_after_end.wait(left())
            if self._pusher is not None:  # how often Prometheus asks the gateway, nobody tells us
                time.sleep(left())

    def _target(self) -> dict[str, Any]:
        # The run's name is a `__meta_` label: each series brings its own `run` label, and a
        # target label of that name would push it aside to `exported_run`.
        job = {"ray_job_id": self._exposure.ray_job_id} if self._exposure.ray_job_id else {}
        labels = {"__meta_dist_erase_run": self._exposure.run} | job | self._scheme
        return {"targets": [self.address], "labels": labels}

    def _merged(self) -> list[Metric]:
        self._own.heartbeat_timestamp_seconds.set(time.time())
        snapshots = []
        for path in snapshots_of(self._folder):
            try:
                snapshots.append(from_text(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, IndexError):
                self._own.exporter_skipped_snapshots_total.inc(1)
        found = merge([*snapshots, without_created(self._own.registry.collect())])
        return labelled(found, START, f"{self._exposure.started:.0f}")

    def _answer(self, path: str, agent: str | None) -> Answer:
        if path == "/metrics":
            has_ended = self._ended.is_set()
            text = self.text()
            return Answer(
                status=200,
                content_type=CONTENT_TYPE_PLAIN_0_0_4,
                sent=partial(self._was_sent, text, agent, has_ended=has_ended),
                text=text,
            )
        if path == "/targets":
            content = json.dumps(self.targets())
            return Answer(status=200, content_type="application/json", text=content)
        what = "only /metrics and /targets are served\n"
        return Answer(status=404, content_type="text/plain", text=what)

    def _was_sent(self, text: str, agent: str | None, *, has_ended: bool) -> None:
        # The driver alone says how the run ended, at the address of the whole run.
        told_the_end = _EXIT_CODE in text or (has_ended and not self._is_whole_run)
        if self._watchers.asked(agent, told_the_end=told_the_end):
            return
        self._scraped.set()
        if has_ended:
            self._scraped_after_end.set()


def snapshots_of(folder: Path) -> list[Path]:
    """The snapshot files of a run, newest first, as `merge` wants them."""
    found = []
    for path in folder.glob("*.prom"):
        try:
            found.append((path.stat().st_mtime_ns, path))
        except FileNotFoundError:
            continue  # removed since it was listed
    return [path for _, path in sorted(found, reverse=True)]
