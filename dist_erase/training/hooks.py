"""What is told of every step: the run's log files and the process's Prometheus metrics."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dist_erase.batch import PairBatch
from dist_erase.observability.emit import Metrics
from dist_erase.observability.rows import EventRow, StepRow
from dist_erase.teacher.client import TeacherStats
from dist_erase.training.account import QUARANTINE


class RunLog:
    """`metrics.jsonl` and `quarantine.jsonl`: append-only, one JSON object a line.

    Args:
        folder: the run folder.
        writes_rows: rows and events come from rank 0 alone; quarantine lines from every rank.
    """

    def __init__(self, folder: Path, *, writes_rows: bool) -> None:
        self._rows = folder / "metrics.jsonl"
        self._quarantine = folder / QUARANTINE
        self._writes_rows = writes_rows

    def step(self, row: StepRow) -> None:
        """Appends one step."""
        if self._writes_rows:
            _append(self._rows, row)

    def event(
        self,
        event: str,
        step: int,
        message: str,
        *,
        seconds: float | None = None,
        figures: dict[str, dict[str, float]] | None = None,
    ) -> None:
        """Appends one event: what happened after which step, in plain words (see `EventRow`)."""
        if not self._writes_rows:
            return
        row = EventRow(event=event, step=step, time=time.time(), message=message)
        if seconds is not None:
            row["seconds"] = seconds
        if figures is not None:
            row["figures"] = figures
        _append(self._rows, row)

    def quarantined(self, batch: PairBatch) -> None:
        """Appends this rank's unusable samples."""
        for sample in batch.quarantined:
            _append(self._quarantine, {"step": batch.step + 1, **asdict(sample)})


def _append(path: Path, row: Any) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")


def record_step(
    metrics: Metrics,
    row: StepRow,
    batch: PairBatch,
    teacher: TeacherStats | None,
    *,
    is_first: bool,
) -> None:
    """Step row into instruments: counts from every rank, global means from rank 0."""
    metrics.heartbeat_timestamp_seconds.set(time.time())
    metrics.step.set(row["step"])
    metrics.step_seconds.observe(row["seconds"]["step"])
    phases = {name: seconds for name, seconds in row["seconds"].items() if name != "step"}
    for phase, seconds in phases.items():
        metrics.phase_seconds_total.inc(seconds, phase)
    rest = row["seconds"]["step"] - sum(phases.values())
    metrics.phase_seconds_total.inc(max(0.0, rest), "other")
    metrics.samples_total.inc(len(batch.retain), "retain")
    if batch.forget is not None:
        metrics.samples_total.inc(len(batch.forget), "forget")
    for stream, amount in batch.read_bytes.items():
        metrics.read_bytes_total.inc(amount, stream)
    for sample in batch.quarantined:
        metrics.corrupt_samples_total.inc(1, sample.stream, sample.reason)
    if teacher is not None:
        _record_teacher(metrics, teacher)
    if is_first:
        _record_means(metrics, row)


def _record_means(metrics: Metrics, row: StepRow) -> None:
    for term, value in row["loss"].items():
        metrics.loss.set(value, term)
    for stream, value in row["similarity"].items():
        metrics.matched_similarity.set(value, stream)
    metrics.steps_planned.set(row["steps"])
    metrics.learning_rate.set(row["lr"])
    metrics.gradient_norm.set(row["grad_norm"])
    metrics.epoch.set(row["epoch"])
    metrics.forget_passes.set(row["forget_passes"])


def _record_teacher(metrics: Metrics, stats: TeacherStats) -> None:
    metrics.teacher_requests_in_flight.set(stats.in_flight)
    metrics.teacher_requests_total.inc(stats.requests)
    metrics.teacher_resubmissions_total.inc(stats.resubmitted)
    for reason, count in stats.failures.items():
        metrics.teacher_failures_total.inc(count, reason)
    for seconds in stats.latencies:
        metrics.teacher_request_seconds.observe(seconds)
