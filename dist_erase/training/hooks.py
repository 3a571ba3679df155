"""What is told of every step: the run's log files and the process's Prometheus metrics."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

from dist_erase.batch import PairBatch
from dist_erase.observability.emit import Metrics
from dist_erase.observability.rows import EventRow, StepRow
from dist_erase.storage import append_json_line, end_whole_line
from dist_erase.teacher.client import TeacherStats
from dist_erase.training.account import QUARANTINE
from dist_erase.training.gradients import TermGradients
from dist_erase.training.step import StepResult


class RunLog:
    """`metrics.jsonl` and `quarantine.jsonl`: append-only, one JSON object a line.

    Args:
        folder: the run folder.
        writes_rows: rows and events come from rank 0 alone; quarantine lines from every rank.

    Attributes:
        folder: the run folder.
    """

    def __init__(self, folder: Path, *, writes_rows: bool) -> None:
        self.folder = folder
        self._rows = folder / "metrics.jsonl"
        self._quarantine = folder / QUARANTINE
        self._writes_rows = writes_rows
        if writes_rows:
            # Here and not with each line: while another rank writes one, a reader sees half of it.
            for path in (self._rows, self._quarantine):
                end_whole_line(path)

    def step(self, row: StepRow) -> None:
        """Appends one step."""
        if self._writes_rows:
            append_json_line(self._rows, row)

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
        append_json_line(self._rows, row)

    def quarantined(self, batch: PairBatch) -> None:
        """Appends this rank's unusable samples."""
        for sample in batch.quarantined:
            append_json_line(self._quarantine, {"step": batch.step + 1, **asdict(sample)})


def record_step(
    metrics: Metrics,
    row: StepRow,
    batch: PairBatch,
    teacher: TeacherStats | None,
) -> None:
    """What every rank tells of its own part of a step."""
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
    metrics.data_worker_seconds_total.inc(batch.work.seconds)
    metrics.data_worker_resident_memory_bytes.set(batch.work.resident_bytes)
    for layer, count in batch.work.queries.items():
        metrics.block_cache_queries_total.inc(count, layer)
    for layer, count in batch.work.hits.items():
        metrics.block_cache_hits_total.inc(count, layer)
    # Those of reason `overlap` are replaced by design: who judges by this metric leaves them out.
    for sample in batch.quarantined:
        metrics.corrupt_samples_total.inc(1, sample.stream, sample.reason)
    if teacher is not None:
        _record_teacher(metrics, teacher)


def record_means(metrics: Metrics, row: StepRow, result: StepResult) -> None:
    """What rank 0 tells of the global batch."""
    for term, value in row["loss"].items():
        metrics.loss.set(value, term)
    for stream, value in row["similarity"].items():
        metrics.matched_similarity.set(value, stream)
    for stream, value in row["mismatched"].items():
        metrics.mismatched_similarity.set(value, stream)
    for stream, spread in result.measures.spread.items():
        metrics.pair_similarity.add(spread.counts, spread.total, stream)
    metrics.logit_scale.set(result.logit_scale)
    if "forget_at_floor" in result.measures.figures:
        metrics.forget_at_floor_ratio.set(result.measures.figures["forget_at_floor"])
    if result.gradients is not None:
        _record_gradients(metrics, result.gradients)
    metrics.learning_rate.set(row["lr"])
    metrics.gradient_norm.set(row["grad_norm"])
    metrics.epoch.set(row["epoch"])
    metrics.forget_passes.set(row["forget_passes"])


def _record_gradients(metrics: Metrics, gradients: TermGradients) -> None:
    for term, norm in gradients.norms().items():
        metrics.term_gradient_norm.set(norm, term)
    conflict = gradients.conflict()
    if conflict is not None:
        metrics.gradient_cosine_ratio.set(conflict)


def _record_teacher(metrics: Metrics, stats: TeacherStats) -> None:
    metrics.teacher_requests_in_flight.set(stats.in_flight)
    metrics.teacher_requests_total.inc(stats.requests)
    metrics.teacher_resubmissions_total.inc(stats.resubmitted)
    for reason, count in stats.failures.items():
        metrics.teacher_failures_total.inc(count, reason)
    for seconds in stats.latencies:
        metrics.teacher_request_seconds.observe(seconds)
