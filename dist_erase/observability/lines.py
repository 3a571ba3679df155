"""Progress as plain ASCII lines, for pipes, logs and small terminals."""

from __future__ import annotations

import contextlib
import time
from typing import TextIO

from dist_erase.observability.bottleneck import bottleneck
from dist_erase.observability.rows import Recent, Row, clock, time_of_day


class PlainProgress:
    """One line every `every_seconds`, one for each event, and the last step at the end."""

    def __init__(self, stream: TextIO, *, run: str, every_seconds: float = 10.0) -> None:
        self._stream = stream
        self._run = run
        self._every_seconds = every_seconds
        self._recent = Recent()
        self._printed_at: float | None = None
        self._unprinted: Row | None = None

    def start(self) -> None:
        """Nothing to show before the first row."""

    def row(self, row: Row) -> None:
        """Takes a row of metrics.jsonl."""
        if "event" in row:
            self._print(row, event_line(row))
            return
        self._recent.add(row)
        self._unprinted = row
        now = time.monotonic()
        if self._printed_at is None or now - self._printed_at >= self._every_seconds:
            self._printed_at = now
            self._print_step()

    def close(self) -> None:
        """Prints the last step if it was not its turn yet."""
        self._print_step()

    def _print_step(self) -> None:
        if self._unprinted is not None:
            self._print(self._unprinted, step_line(self._unprinted, self._recent))
            self._unprinted = None

    def _print(self, row: Row, line: str) -> None:
        # Whoever read the pipe may have gone; the run goes on.
        with contextlib.suppress(BrokenPipeError):
            self._stream.write(f"{time_of_day(row)} {self._run} {line}\n")
            self._stream.flush()


def event_line(row: Row) -> str:
    """An event row in words."""
    step = f"step {row['step']} " if "step" in row else ""
    message = f": {row['message']}" if row.get("message") else ""
    return f"{step}{row['event']}{message}"


def step_line(row: Row, recent: Recent) -> str:
    """A step row in words; what the row does not have is left out."""
    parts = [f"step {row['step']}/{row['steps']}"]
    loss = dict(row.get("loss", {}))
    if loss:
        total = f"loss {loss.pop('total'):.4g}" if "total" in loss else "loss"
        terms = ", ".join(f"{name} {value:.4g}" for name, value in loss.items())
        parts.append(f"{total} ({terms})" if terms else total)
    cosines = dict(row.get("similarity", {}))
    if row.get("floor") is not None:
        cosines["floor"] = row["floor"]
    if cosines:
        parts.append("cosine " + " ".join(f"{name} {v:.3f}" for name, v in cosines.items()))
    if "samples_per_second" in row:
        parts.append(f"{row['samples_per_second']:.0f} samples/s")
    eta = recent.eta_seconds()
    if eta is not None:
        parts.append(f"ETA {clock(eta)}")
    waits = bottleneck(recent.rows)
    return " | ".join([*parts, waits] if waits else parts)
