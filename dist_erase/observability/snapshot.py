"""The metrics of one process as a file that is replaced every second.

Processes share their values over the run folder instead of a port each: one address can serve
them all, and the last values of a process that ended stay. A file is Prometheus text that ends
with a comment `# EOF`, so that half a file is recognised.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from dist_erase import storage
from dist_erase.observability.cores import IdleCores
from dist_erase.observability.emit import Metrics
from dist_erase.observability.memory import record_memory

END = "# EOF\n"
_log = logging.getLogger(__name__)


# Stands in a path for the name of the machine, so that one path serves processes on many.
NODE = "{node}"


def on_this_node(folder: Path) -> Path:
    """The folder on this machine: a last component `NODE` becomes the host name."""
    return folder.with_name(platform.node()) if folder.name == NODE else folder


class _Families:
    """Families as the client's encoder wants them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Those that have a value."""
        return (family for family in without_created(self._families) if family.samples)


def without_created(families: Iterable[Metric]) -> Iterator[Metric]:
    """The families without their `_created` series, which Prometheus ignores."""
    for family in families:
        family.samples = [s for s in family.samples if not s.name.endswith("_created")]
        yield family


def to_text(families: Iterable[Metric]) -> str:
    """Prometheus text of `families`, closed by the end mark."""
    return generate_latest(_Families(families)).decode() + END


def from_text(text: str) -> list[Metric]:
    """The families in `text`; raises ValueError when it is not a whole snapshot."""
    if not text.endswith(END):
        raise ValueError("the end mark is missing")
    return list(text_string_to_metric_families(text))


class SnapshotWriter:
    """Writes `metrics` to FOLDER/ROLE-RANK-PID.prom from a thread, until `close`.

    A last component `NODE` of the folder becomes the host name.

    A folder that cannot be written costs the metrics, never the run: one warning is logged and
    every later second tries again.
    """

    def __init__(self, metrics: Metrics, folder: Path, every_seconds: float = 1.0) -> None:
        self.path = on_this_node(folder) / f"{metrics.role}-{metrics.rank}-{os.getpid()}.prom"
        self._metrics = metrics
        self._every_seconds = every_seconds
        self._failed = False
        self._idle_cores = IdleCores() if metrics.role == "student" else None
        self._stop = threading.Event()
        self._write()
        self._thread = threading.Thread(target=self._run, name="metrics-snapshot", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops the thread and writes the last values; a second call does nothing."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            self._write()

    def _run(self) -> None:
        while not self._stop.wait(self._every_seconds):
            self._write()

    def _write(self) -> None:
        self._metrics.heartbeat_timestamp_seconds.set(time.time())
        record_memory(self._metrics)
        idle = None if self._idle_cores is None else self._idle_cores.read()
        if idle is not None:
            self._metrics.node_idle_cores.set(idle)
        try:
            storage.write_text(self.path, to_text(self._metrics.registry.collect()))
            self._failed = False
        except OSError as error:
            if not self._failed:
                _log.warning("metrics cannot be written to %s: %s", self.path, error)
            self._failed = True
