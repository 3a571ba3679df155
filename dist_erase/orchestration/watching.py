"""Everything that shows a run while it runs: the scrape address, the console, the log tail."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dist_erase.config.run import ObserveConfig
from dist_erase.observability.emit import Metrics
from dist_erase.observability.exporter import RunExporter
from dist_erase.observability.progress import follow, make_progress
from dist_erase.observability.snapshot import SnapshotWriter
from dist_erase.orchestration.run_folder import METRICS


def metrics_folder(folder: Path) -> Path:
    """Where every process of the run leaves its metrics."""
    return folder / METRICS


@contextmanager
def watched(observe: ObserveConfig, folder: Path, *, run: str) -> Iterator[Metrics]:
    """Serves metrics and shows progress inside; gives the driver's own instruments."""
    metrics = Metrics(run=run, role="driver", rank=0)
    snapshots = SnapshotWriter(metrics, metrics_folder(folder))
    exporter = RunExporter(
        metrics_folder(folder),
        run=run,
        file_sd=folder.parent / ".file_sd" / f"{run}.json",
        bind=observe.bind,
        port=observe.port,
        grace_seconds=observe.grace_seconds,
    )
    sys.stderr.write(f"metrics: http://{exporter.address}/metrics\n")
    progress = make_progress(observe.console, sys.stderr, run=run)
    rows, stop = folder / "metrics.jsonl", threading.Event()
    start = rows.stat().st_size if rows.exists() else 0
    tail = threading.Thread(
        target=follow, args=(rows, progress, stop), kwargs={"start": start}, daemon=True
    )
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
