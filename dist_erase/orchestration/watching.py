"""Everything that shows a run while it runs: the scrape address, the console, the log tail."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dist_erase.config.run import ObserveConfig
from dist_erase.observability.emit import Metrics
from dist_erase.observability.exporter import RunExporter
from dist_erase.observability.progress import Progress, make_progress
from dist_erase.observability.snapshot import SnapshotWriter
from dist_erase.observability.sources import FolderSource, Source, Update
from dist_erase.observability.state import RunState
from dist_erase.orchestration.run_folder import CONFIG, METRICS, ROWS

_POLL_SECONDS = 0.2


def metrics_folder(folder: Path) -> Path:
    """Where every process of the run leaves its metrics."""
    return folder / METRICS


def file_sd(folder: Path) -> Path:
    """The service discovery file of the run, there while it lives."""
    return folder.parent / ".file_sd" / f"{folder.name}.json"


@contextmanager
def watched(observe: ObserveConfig, folder: Path, *, run: str) -> Iterator[Metrics]:
    """Serves metrics and shows progress inside; gives the driver's own instruments."""
    metrics = Metrics(run=run, role="driver", rank=0)
    snapshots = SnapshotWriter(metrics, metrics_folder(folder))
    exporter = RunExporter(
        metrics_folder(folder),
        run=run,
        file_sd=file_sd(folder),
        bind=observe.bind,
        port=observe.port,
        grace_seconds=observe.grace_seconds,
    )
    sys.stderr.write(f"metrics: http://{exporter.address}/metrics\n")
    source = FolderSource(folder / ROWS, metrics_folder(folder), look_seconds=5.0)
    progress = make_progress(observe.console, sys.stderr, RunState(run, read_goals(folder)))
    progress.past(source.poll().rows)  # of earlier parts of this run
    stop = threading.Event()
    tail = threading.Thread(target=_follow, args=(source, progress, stop), daemon=True)
    progress.start()
    tail.start()
    try:
        yield metrics
    finally:
        stop.set()
        tail.join()
        progress.close()
        snapshots.close()
        exporter.close()


def read_goals(folder: Path) -> dict[str, float | None]:
    """The `stop` section of the configuration in a run folder; empty without one."""
    try:
        stored = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return dict(stored["config"].get("stop", {}))
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _follow(source: Source, progress: Progress, stop: threading.Event) -> None:
    """Hands what is new to the view until `stop`, then what is left of it."""
    stopping = False
    while not stopping:
        stopping = stop.wait(_POLL_SECONDS)
        show(source.poll(), progress)


def show(update: Update, progress: Progress) -> None:
    """Hands an update to a view: facts before rows, which are judged by them."""
    if update.facts is not None:
        progress.look(update.facts)
    for row in update.rows:
        progress.row(row)
