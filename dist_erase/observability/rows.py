"""The rows of a run's `metrics.jsonl`, and what the last few of them say about time.

The training loop appends one JSON object per step; whoever watches reads them. A row with the
key `event` tells of something else than a step. Every key may be absent: a run without a teacher
has no teacher to report about. Numbers may be NaN, as `json` writes it, never null.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

Row = Mapping[str, Any]


class StepRow(TypedDict, total=False):
    """One finished step.

    Attributes:
        step: its number, from 1; `steps` is the last one planned.
        attempt: how often the workers have been started.
        time: unix seconds at its end.
        loss: term → value over the global batch, unweighted, and `total`.
        similarity: `forget`, `retain` → mean cosine of matching pairs, global batch.
        mismatched: `forget`, `retain` → mean cosine with retain pairs of other captions.
        floor: cosine where forget pairs should end.
        lr: learning rate; `grad_norm`: L2 norm before clipping.
        seconds: `step` (all of it) and its parts `data_wait`, `teacher_wait`, `forward`,
            `backward`, `communication`, `optimizer`, and `gradients` where each term's is measured,
            of rank 0.
        samples: pairs in the step, all ranks; `samples_per_second`: the same by time.
        epoch: passes over the set named by data.epoch_of; `forget_passes`: over the forget set.
        teacher: `in_flight` and `resubmitted` requests.
        batch: digest of the global batch, 16 hexadecimal digits; equal batches have equal ones,
            whatever the number of ranks.
    """

    step: int
    steps: int
    attempt: int
    time: float
    loss: dict[str, float]
    similarity: dict[str, float]
    mismatched: dict[str, float]
    floor: float | None
    lr: float
    grad_norm: float
    seconds: dict[str, float]
    samples: int
    samples_per_second: float
    epoch: float
    forget_passes: float
    teacher: dict[str, int]
    batch: str


class EventRow(TypedDict, total=False):
    """Something that happened after a step.

    Attributes:
        event: `start`, `checkpoint`, `evaluation`, `stop`, `failure`, …
        step: the last one done; `time`: unix seconds; `message`: in words.
        seconds: how long training stood still for it.
        figures: of an evaluation, set → `top1` (only with classes) and `recall1` (the better
            direction), shares of the pairs that the model finds.
    """

    event: str
    step: int
    time: float
    message: str
    seconds: float
    figures: dict[str, dict[str, float]]


class Recent:
    """The last step rows of one attempt, at most `window`.

    A row may stand for several steps (`covers`, default 1): its `seconds` and `samples` are
    then means over them.
    """

    def __init__(self, window: int = 50) -> None:
        self._window = window
        self._rows: deque[Row] = deque(maxlen=window)

    def add(self, row: Row) -> None:
        """Takes a step row; after a restart it starts anew, since nobody trained in between.

        One is seen by another attempt, which may go on with the very next step, or by a step
        number that goes back.
        """
        if self._rows:
            last = self._rows[-1]
            if row.get("attempt") != last.get("attempt") or row["step"] <= last["step"]:
                self._rows.clear()
        self._rows.append(row)
        # Whoever begins to watch gets one row of all steps so far, which would outweigh the others.
        if len(self._rows) > 2 and self._rows[0].get("covers", 1) > self._window:
            self._rows.popleft()

    def pause(self, name: str, seconds: float) -> None:
        """Counts time between steps, for `name`, to the last one."""
        if self._rows and "seconds" in self._rows[-1]:
            last = self._rows[-1]
            each, parts = seconds / last.get("covers", 1), dict(last["seconds"])
            parts[name] = parts.get(name, 0.0) + each
            parts["step"] = parts.get("step", 0.0) + each
            self._rows[-1] = {**last, "seconds": parts}

    @property
    def rows(self) -> Sequence[Row]:
        """Oldest first."""
        return list(self._rows)

    @property
    def mean_seconds(self) -> float | None:
        """Wall time of a step, pauses included."""
        times = [(r["seconds"].get("step", 0.0), r.get("covers", 1)) for r in self._timed()]
        steps = sum(covers for _, covers in times)
        return sum(seconds * covers for seconds, covers in times) / steps if steps else None

    @property
    def samples_per_second(self) -> float | None:
        """Pairs by wall time, all ranks, pauses included."""
        timed = [row for row in self._timed() if row.get("samples") is not None]
        seconds = sum(row["seconds"].get("step", 0.0) * row.get("covers", 1) for row in timed)
        samples = sum(row["samples"] * row.get("covers", 1) for row in timed)
        return samples / seconds if seconds > 0 else None

    def _timed(self) -> list[Row]:
        return [row for row in self._rows if row.get("seconds")]

    def eta_seconds(self) -> float | None:
        """Time to the last planned step at the pace of these rows; None before two of them."""
        if len(self._rows) < 2:
            return None
        first, last = self._rows[0], self._rows[-1]
        pace = (last["time"] - first["time"]) / (last["step"] - first["step"])
        return float(pace * max(0, last["steps"] - last["step"]))


def clock(seconds: float | None) -> str:
    """H:MM:SS or M:SS; "-" for None."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def time_of_day(row: Row) -> str:
    """HH:MM:SS of the row, in local time."""
    return time.strftime("%H:%M:%S", time.localtime(row.get("time")))
