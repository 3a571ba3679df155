"""Progress as plain ASCII lines, for pipes, logs and small terminals."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TextIO

from dist_erase.observability.facts import Facts
from dist_erase.observability.rows import Row, clock, time_of_day
from dist_erase.observability.state import RunState
from dist_erase.observability.writing import Lines

# A log of a long run needs fewer lines than one somebody watches from its beginning.
_EARLY_SECONDS, _SLOWER = 600.0, 6.0
# Events that no step of the same attempt follows: the last one stands above them.
_AFTER_STEPS = {"export", "failure", "interrupted", "stop"}


class PlainProgress:
    """One line every `every_seconds`, one for each event, and the last step before its end.

    After ten minutes the lines of steps are six times rarer.
    """

    def __init__(self, stream: TextIO, state: RunState, *, every_seconds: float = 10.0) -> None:
        self._lines = Lines(stream)
        self._state = state
        self._every_seconds = every_seconds
        self._started = time.monotonic()
        self._printed_at: float | None = None
        self._unprinted = False

    def start(self) -> None:
        """Nothing to show before the first row."""

    def past(self, rows: Iterable[Row]) -> None:
        """Takes rows of before this view began; none of them is printed, but where they end."""
        for row in rows:
            self._state.row(row)
        self._unprinted = bool(self._state.last)
        self._print_step()

    def row(self, row: Row) -> None:
        """Takes a row of metrics.jsonl."""
        if row.get("event") in _AFTER_STEPS:
            self._print_step()
        self._state.row(row)
        if "event" in row:
            self._print(row, event_line(row))
            return
        self._unprinted = True
        now = time.monotonic()
        early = now - self._started < _EARLY_SECONDS
        pause = self._every_seconds * (1.0 if early else _SLOWER)
        if self._printed_at is None or now - self._printed_at >= pause:
            self._printed_at = now
            self._print_step()

    def look(self, facts: Facts) -> None:
        """Takes what metrics say now; what changed comes as event rows."""
        self._state.look(facts)

    def silence(self, text: str | None) -> None:
        """Says once that the run does not answer, and once that it does again."""
        if (text is None) != (self._state.silence is None):
            self._print({"time": time.time()}, text or "answers again")
        self._state.silence = text

    def end(self, exit_code: int | None, message: str) -> None:
        """Says where it stands and how it ended."""
        self._print_step()
        self._print({"time": time.time()}, message)

    def close(self) -> None:
        """Prints the last step if it was not its turn yet."""
        self._print_step()

    @property
    def unread(self) -> bool:
        """Whether whoever read the lines has gone; a run goes on."""
        return self._lines.unread

    def _print_step(self) -> None:
        if self._unprinted:
            self._print(self._state.last, step_line(self._state))
            self._unprinted = False

    def _print(self, row: Row, line: str) -> None:
        self._lines.write(f"{time_of_day(row)} {self._state.run} {line}")


def event_line(row: Row) -> str:
    """An event row in words."""
    step = f"step {row['step']} " if "step" in row else ""
    message = f": {row['message']}" if row.get("message") else ""
    return f"{step}{row['event']}{message}"


def step_line(state: RunState) -> str:
    """The last step in words; what is not known is left out."""
    row = state.last
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
    found = [f"{one.set} {one.now:.1%}" for one in state.found if one.set in ("forget", "retain")]
    if found:
        parts.append(f"found {' '.join(found)}")
    if state.recent.samples_per_second is not None:
        parts.append(f"{state.recent.samples_per_second:.0f} samples/s")
    eta = state.recent.eta_seconds()
    if eta is not None:
        parts.append(f"ETA {clock(eta)}")
    waits = state.bottleneck
    return " | ".join([*parts, waits.text] if waits else parts)
