"""Everything that shows a run while it runs: the scrape address, the console, the log tail."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from dist_erase.config.run import ObserveConfig
from dist_erase.observability.emit import Metrics
from dist_erase.observability.exporter import Exposure, RunExporter
from dist_erase.observability.progress import Progress, make_progress
from dist_erase.observability.scrape import read_folder
from dist_erase.observability.snapshot import NODE, SnapshotWriter, on_this_node
from dist_erase.observability.sources import FolderSource, Source, Update
from dist_erase.observability.state import RunState
from dist_erase.orchestration.run_folder import CONFIG, METRICS, ROWS, announced, discovery

_POLL_SECONDS = 0.2


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
        discovery=discovery(folder),
        bind=observe.bind,
        port=observe.port,
        grace_seconds=observe.grace_seconds,
        web_config=observe.web_config,
        pushgateway=observe.pushgateway,
        ray_job_id=ray_job_id,
        started=_started(folder),
    )


def _started(folder: Path) -> float:
    """When the run in `folder` was last started: each start writes its configuration there."""
    try:
        return (folder / CONFIG).stat().st_mtime
    except FileNotFoundError:
        return time.time()


def addresses(folder: Path) -> list[str]:
    """URLs of the metrics of the run in `folder`, the driver's first; none when it has ended."""
    found = []
    for path in announced(folder):
        try:
            target = json.loads(path.read_text(encoding="utf-8"))[0]
            scheme = target["labels"].get("__scheme__", "http")
            found.append(f"{scheme}://{target['targets'][0]}/metrics")
        except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError):
            continue  # removed since it was listed
    return found


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
    # With an address a node these are the facts of the processes here; those of others are theirs.
    look = partial(read_folder, on_this_node(metrics_at))
    source = FolderSource(folder / ROWS, look, look_seconds=5.0)
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
        if observe.per_node:
            shutil.rmtree(on_this_node(metrics_at), ignore_errors=True)


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
