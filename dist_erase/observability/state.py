"""What is known of a run by now: the one thing that every view shows."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from dist_erase.observability.bottleneck import Bottleneck, bottleneck, shares
from dist_erase.observability.curve import Curve
from dist_erase.observability.facts import Facts, Figures
from dist_erase.observability.goals import Found, found
from dist_erase.observability.rows import Recent, Row

Shares = dict[str, float]

_EVENTS_KEPT = 20
_LOOKS_KEPT = 30  # of facts, for what changes slowly


class RunState:
    """Takes rows and facts, tells what they come to.

    Attributes:
        run: its name.
        goals: the `stop` section of its configuration, as far as known.
        last: the newest step row; {} before the first.
        events: the newest event rows, oldest first.
        curves: name of a figure → its course over the whole run.
        silence: what to say when the run does not answer; None = it does.
        end: how it ended, in words; None = not seen.
        stopped: whether a goal or budget ended the training before the last planned step.
        address: of its metrics, where it is worth telling.
    """

    def __init__(self, run: str, goals: Mapping[str, float | None] | None = None) -> None:
        self.run = run
        self.goals = goals or {}
        self.last: Row = {}
        self.recent = Recent()
        self.events: deque[Row] = deque(maxlen=_EVENTS_KEPT)
        self.curves: dict[str, Curve] = {}
        self.silence: str | None = None
        self.end: str | None = None
        self.stopped = False
        self.address: str | None = None
        self._looks: deque[Facts] = deque(maxlen=_LOOKS_KEPT)
        self._now: Figures = {}
        self._before: Figures = {}

    def row(self, row: Row) -> None:
        """Takes a step row or an event row."""
        if "event" not in row:
            self._step(row)
            return
        self.events.append(row)
        self.stopped = row["event"] == "stop" or (self.stopped and row["event"] != "start")
        if row.get("seconds") is not None:
            self.recent.pause(row["event"], row["seconds"])
        if row.get("figures"):
            self._evaluation(row)

    def look(self, facts: Facts) -> None:
        """Takes what metrics say now."""
        if self._looks and facts.attempt != self._looks[-1].attempt:
            self._looks.clear()
        self._looks.append(facts)
        if facts.before:
            self._before = facts.before
        if facts.after:
            self._now = facts.after
        elif facts.live and not self._now:
            self._now = facts.live
        if facts.evaluations == 1 and facts.attempt == 1 and not self._before:
            self._before = facts.live  # a run's first is that of the original model

    @property
    def facts(self) -> Facts:
        """The newest; empty before the first."""
        return self._looks[-1] if self._looks else Facts()

    @property
    def found(self) -> list[Found]:
        """How many pairs the model still finds, against the goals."""
        return found(self._now, self._before, {**self.facts.goals, **self.goals})

    @property
    def shares(self) -> dict[str, float]:
        """Where the time of recent steps went."""
        return shares(self.recent.rows)

    @property
    def bottleneck(self) -> Bottleneck | None:
        """The largest wait of recent steps."""
        if not self._looks:
            return bottleneck(self.recent.rows)
        old, now = self._looks[0], self._looks[-1]
        waits = self._since_oldest_look(now.data_wait, old.data_wait)
        busy = self._since_oldest_look(now.worker_seconds, old.worker_seconds)
        return bottleneck(self.recent.rows, now, data_waits=waits, workers_busy=busy.get("0"))

    def _step(self, row: Row) -> None:
        self.recent.add(row)
        self.last = row
        for term, value in row.get("loss", {}).items():
            self._curve(f"loss {term}", value)
        for stream, value in row.get("similarity", {}).items():
            self._curve(f"cosine {stream}", value)

    def _evaluation(self, row: Row) -> None:
        if row.get("step") == 0:
            self._before = row["figures"]
        self._now = row["figures"]
        for one in self.found:
            self._curve(f"found {one.set} {one.measure}", one.now)

    def _curve(self, name: str, value: float) -> None:
        self.curves.setdefault(name, Curve()).add(value)

    def _since_oldest_look(self, now: Mapping[str, float], old: Mapping[str, float]) -> Shares:
        """Rank → what its counter grew by, as a share of the time of its steps meanwhile."""
        first, last = self._looks[0].step_seconds, self._looks[-1].step_seconds
        spent = {rank: last[rank] - first[rank] for rank in last.keys() & first.keys()}
        return {
            rank: max(0.0, now[rank] - old.get(rank, 0.0)) / seconds
            for rank, seconds in spent.items()
            if seconds > 0 and rank in now
        }
