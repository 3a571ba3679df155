"""Everything that shows a run while it runs: the scrape address, the console, the log tail."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dist_erase.config.run import ObserveConfig
from dist_erase.observability.emit import Metrics
from dist_erase.observability.exporter import Exposure, RunExporter
from dist_erase.observability.progress import follow, make_progress
from dist_erase.observability.snapshot import NODE, SnapshotWriter, on_this_node
from dist_erase.orchestration.run_folder import METRICS


def metrics_folder(observe: ObserveConfig, folder: Path) -> Path:
    """Where every process of a run leaves its metrics: told to all of them by the first.

    With `observe.per_node` a folder on each machine's own disk, another one for each start.
    """
    if not observe.per_node:
        return folder / METRICS
    ours = Path(tempfile.gettempdir()) / f"dist-erase-{os.getuid()}"
    return ours / f"{folder.name}-{uuid.uuid4().hex[:12]}" / NODE


def exposure(observe: ObserveConfig, folder: Path, *, ray_job_id: str = "") -> Exposure:
    """How the metrics of the run in `folder` are shown."""
    return Exposure(
        run=folder.name,
        discovery=folder.parent / ".file_sd",
        bind=observe.bind,
        port=observe.port,
        grace_seconds=observe.grace_seconds,
        web_config=observe.web_config,
        pushgateway=observe.pushgateway,
        ray_job_id=ray_job_id,
    )


@contextmanager
def watched(
    observe: ObserveConfig, folder: Path, *, metrics_at: Path, ray_job_id: str = ""
) -> Iterator[Metrics]:
    """Serves metrics and shows progress inside; gives the driver's own instruments.

    Args:
        observe: the `observe` section.
        folder: of the run, named as the run is.
        metrics_at: `metrics_folder` of this start.
        ray_job_id: "" without Ray.

    Raises:
        UserError: the metrics address cannot be had.
    """
    run = folder.name
    exporter = RunExporter(metrics_at, exposure(observe, folder, ray_job_id=ray_job_id))
    metrics = Metrics(run=run, role="driver", rank=0)
    snapshots = SnapshotWriter(metrics, metrics_at)
    sys.stderr.write(f"metrics: {exporter.url}\n")
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
        if observe.per_node:
            shutil.rmtree(on_this_node(metrics_at), ignore_errors=True)
