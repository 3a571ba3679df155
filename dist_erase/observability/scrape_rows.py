"""Rows like those of metrics.jsonl, made from the difference between two looks at the metrics."""

from __future__ import annotations

from dist_erase.observability.facts import Facts
from dist_erase.observability.goals import found_in_words
from dist_erase.observability.rows import EventRow, Row
from dist_erase.observability.scrape import Scrape

_FIRST = "0"  # the rank whose values stand for the run, as in metrics.jsonl
_PAUSES = ("checkpoint", "evaluation")  # phases that are no part of a step's own time


class ScrapeRows:
    """Makes one row of all steps since the last look; of those before the first look too."""

    def __init__(self) -> None:
        self._step: float | None = None
        self._seconds: dict[str, float] = {}
        self._steps = 0.0
        self._samples = 0.0
        self._resubmitted = 0.0

    def row(self, scrape: Scrape, time: float) -> Row | None:
        """The steps done since the last call, as one row; None without any.

        Args:
            scrape: of now.
            time: unix seconds of now.
        """
        step = scrape.value("step", rank=_FIRST)
        if not step or step == self._step:
            return None
        # How many steps the counters stand for: they begin anew when the process does.
        steps = scrape.value("step_seconds_count", rank=_FIRST) or 0.0
        if steps < self._steps:
            self._seconds, self._steps, self._samples, self._resubmitted = {}, 0.0, 0.0, 0.0
        self._step = step
        covers = steps - self._steps
        row = {"step": int(step), "time": time, **_last_values(scrape)}
        planned = scrape.value("steps_planned", rank=_FIRST)
        row["steps"] = int(step if planned is None else planned)
        if covers > 0:
            row |= self._means(scrape, covers)
        self._steps = steps
        return row

    def _means(self, scrape: Scrape, covers: float) -> dict[str, object]:
        now = scrape.by("phase", "phase_seconds_total", rank=_FIRST)
        now["step"] = scrape.value("step_seconds_sum", rank=_FIRST) or 0.0
        now["step"] += sum(now.get(pause, 0.0) for pause in _PAUSES)
        now.pop("other", None)
        seconds = {n: (v - self._seconds.get(n, 0.0)) / covers for n, v in now.items()}
        samples = scrape.total("samples_total") or 0.0
        resubmitted = scrape.value("teacher_resubmissions_total", rank=_FIRST) or 0.0
        means: dict[str, object] = {
            "covers": int(covers),
            "seconds": seconds,
            "samples": (samples - self._samples) / covers,
        }
        in_flight = scrape.value("teacher_requests_in_flight", rank=_FIRST)
        if in_flight is not None:
            again = int(resubmitted - self._resubmitted)
            means["teacher"] = {"in_flight": int(in_flight), "resubmitted": again}
        self._seconds, self._samples, self._resubmitted = now, samples, resubmitted
        return means


def _last_values(scrape: Scrape) -> dict[str, object]:
    """What a row says of the last step alone."""
    names = {
        "floor": "similarity_floor",
        "lr": "learning_rate",
        "grad_norm": "gradient_norm",
        "epoch": "epoch",
        "forget_passes": "forget_passes",
        "attempt": "worker_attempt",
    }
    values: dict[str, object] = {
        "loss": scrape.by("term", "loss"),
        "similarity": scrape.by("stream", "matched_similarity"),
    }
    found = {key: scrape.value(name, rank=_FIRST) for key, name in names.items()}
    return values | {key: value for key, value in found.items() if value is not None}


def run_changes(before: Facts, now: Facts, step: int, time: float) -> list[EventRow]:
    """The events that metrics.jsonl would tell, as far as metrics show them."""
    events = []
    if now.attempt and before.attempt and now.attempt > before.attempt:
        events.append(
            EventRow(event="start", step=step, time=time, message=f"attempt {now.attempt}")
        )
    if now.checkpoint_step is not None and now.checkpoint_step != before.checkpoint_step:
        events.append(EventRow(event="checkpoint", step=now.checkpoint_step, time=time))
    if now.live and now.live != before.live:
        events.append(
            EventRow(
                event="evaluation",
                step=step,
                time=time,
                message=found_in_words(now.live),
                figures=now.live,
            )
        )
    return events
