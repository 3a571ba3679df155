"""One scrape address for a run: the merge of all snapshots of its processes.

Prometheus finds the address by a file_sd file, or by http_sd at /targets.
"""

from __future__ import annotations

import json
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterable
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from dist_erase import storage
from dist_erase.errors import UserError
from dist_erase.observability.emit import Metrics
from dist_erase.observability.snapshot import from_text, to_text
from dist_erase.observability.watchers import Watchers

# Prometheus' default scrape interval: an exporter that old and never scraped has no Prometheus.
_NOBODY_SCRAPES_SECONDS = 60.0
_EXIT_CODE = "\ndist_erase_run_exit_code{"
_log = logging.getLogger(__name__)


class RunExporter:
    """Serves a run's metrics over HTTP from a thread, until `close`.

    Args:
        folder: where the run's processes write their snapshots; need not exist yet.
        run: name of the run.
        file_sd: Prometheus service-discovery file to write; removed at the end.
        bind: address to listen on; 0.0.0.0 or :: for every interface.
        port: 0 takes a free one.
        grace_seconds: how long `close` waits for a last scrape.

    Raises:
        UserError: the address cannot be listened on.
    """

    def __init__(
        self,
        folder: Path,
        *,
        run: str,
        file_sd: Path,
        bind: str,
        port: int,
        grace_seconds: float,
    ) -> None:
        self._folder = folder
        self._run = run
        self._file_sd = file_sd
        self._grace_seconds = grace_seconds
        self._own = Metrics(run=run, role="exporter", rank=0)
        self._started = time.monotonic()
        self._watchers = Watchers()
        self._scraped = threading.Event()
        self._ended = threading.Event()
        self._scraped_after_end = threading.Event()
        try:
            self._server = _Server(bind, port, partial(_Handler, self))
        except OSError as error:
            raise UserError(
                "observe.bind, observe.port",
                f"cannot listen on {bind} port {port} ({error.strerror}).",
                "Give an address of this machine and a free port; port 0 finds one.",
            ) from error
        self.address = _reachable(bind, self._server.server_address[1])
        storage.write_json(file_sd, self.targets())
        self._thread = threading.Thread(
            target=partial(self._server.serve_forever, poll_interval=0.1),
            name="metrics-exporter",
            daemon=True,
        )
        self._thread.start()

    def targets(self) -> list[dict[str, Any]]:
        """Service discovery, http_sd and file_sd alike.

        The run's name is a `__meta_` label: each series brings its own `run` label, and a
        target label of that name would push it aside to `exported_run`.
        """
        return [{"targets": [self.address], "labels": {"__meta_dist_erase_run": self._run}}]

    def text(self) -> str:
        """All current values of the run; what GET /metrics answers."""
        self._own.heartbeat_timestamp_seconds.set(time.time())
        snapshots = []
        for path in snapshots_of(self._folder):
            try:
                snapshots.append(from_text(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, IndexError):
                self._own.exporter_skipped_snapshots_total.inc(1)
        return to_text(merge([*snapshots, self._own.registry.collect()]))

    def close(self) -> None:
        """Serves until one more scrape, or for the time of grace, then stops.

        All other processes must have written their last snapshot. There is no waiting where
        nobody has scraped for a minute or longer. Whoever is watching is told the end first.
        """
        if self._ended.is_set():
            return
        self._ended.set()
        try:
            self._watchers.wait(self._grace_seconds)
            age = time.monotonic() - self._started
            if self._scraped.is_set() or age < _NOBODY_SCRAPES_SECONDS:
                self._scraped_after_end.wait(self._grace_seconds)
        finally:
            self._file_sd.unlink(missing_ok=True)
            self._server.shutdown()
            self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Writes the answer to one GET request."""
        has_ended = self._ended.is_set()
        path = handler.path.partition("?")[0]
        if path == "/metrics":
            text = self.text()
            _send(handler, 200, CONTENT_TYPE_PLAIN_0_0_4, text)
            agent, told_the_end = handler.headers.get("User-Agent"), _EXIT_CODE in text
            if self._watchers.asked(agent, told_the_end=told_the_end):
                return
            self._scraped.set()
            if has_ended:
                self._scraped_after_end.set()
        elif path == "/targets":
            _send(handler, 200, "application/json", json.dumps(self.targets()))
        else:
            _send(handler, 404, "text/plain", "only /metrics and /targets are served\n")


def merge(snapshots: Iterable[Iterable[Metric]]) -> list[Metric]:
    """One family per name; of equal series the first snapshot's wins.

    Series are equal if they differ in `node` only: a rank restarted on another machine replaces
    itself. An info series is replaced as a whole, whatever facts it states.
    """
    families: dict[str, Metric] = {}
    seen: set[tuple[object, ...]] = set()
    for snapshot in snapshots:
        for family in snapshot:
            merged = families.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            fresh = [s for s in family.samples if _identity(s) not in seen]
            if merged.type == family.type:
                merged.samples += fresh
                seen.update(map(_identity, fresh))
    return [families[name] for name in sorted(families)]


def _identity(sample: Sample) -> tuple[object, ...]:
    if sample.name.endswith("_info"):
        return (sample.name, *(sample.labels.get(name) for name in ("run", "role", "rank")))
    return (sample.name, frozenset(i for i in sample.labels.items() if i[0] != "node"))


def snapshots_of(folder: Path) -> list[Path]:
    """The snapshot files of a run, newest first, as `merge` wants them."""
    found = []
    for path in folder.glob("*.prom"):
        try:
            found.append((path.stat().st_mtime_ns, path))
        except FileNotFoundError:
            continue  # removed since it was listed
    return [path for _, path in sorted(found, reverse=True)]


def _send(handler: BaseHTTPRequestHandler, status: int, content_type: str, text: str) -> None:
    body = text.encode()
    handler.send_response(status)
    handler.send_header("Content-Type", content_type)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def _reachable(bind: str, port: int) -> str:
    """HOST:PORT under which another machine finds a server bound to `bind`."""
    host = bind
    if bind in ("0.0.0.0", "::", ""):
        # The source address that this machine would use; connecting UDP sends nothing. The
        # host name is of no use here: pods do not know each other's.
        family = socket.AF_INET6 if bind == "::" else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("2001:db8::1" if bind == "::" else "192.0.2.1", 9))
                host = probe.getsockname()[0]
            except OSError:
                host = "::1" if bind == "::" else "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, bind: str, port: int, handler: Any) -> None:
        self.address_family = socket.AF_INET6 if ":" in bind else socket.AF_INET
        super().__init__((bind, port), handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says what failed in the log; a scraper that hung up is nothing to report."""
        if not isinstance(sys.exception(), ConnectionError):
            _log.warning("a request to the metrics address failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = 30

    def __init__(self, exporter: RunExporter, *args: Any) -> None:
        self._exporter = exporter
        super().__init__(*args)

    def do_GET(self) -> None:
        self._exporter.answer(self)

    def log_message(self, format: str, *args: Any) -> None:
        """No line for each scrape."""
