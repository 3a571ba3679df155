"""A run as JSON, one object a line, for programs; its keys change only on purpose.

Every line has `kind`, `run` and `time` (unix seconds). Kinds:

- `state`: after a step, or a look at the metrics that saw one. What is not known is null.
- `event`: `event`, `step`, `message`.
- `silence`: the run does not answer; `message` says since when. Empty when it does again.
- `end`: `exit_code` (null where it is not known), `message`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from dist_erase.observability.facts import Facts
from dist_erase.observability.rows import Row
from dist_erase.observability.state import RunState
from dist_erase.observability.writing import Lines


class JsonProgress:
    """Lines for machines: one for each step and event; where it begins, one for what was before."""

    def __init__(self, stream: TextIO, state: RunState) -> None:
        self._lines = Lines(stream)
        self._state = state

    def start(self) -> None:
        """Nothing to show before the first row."""

    def past(self, rows: Iterable[Row]) -> None:
        """Takes rows of before this view began; says where they end."""
        for row in rows:
            self._state.row(row)
        if self._state.last:
            self._print(state_json(self._state))

    def row(self, row: Row) -> None:
        """Takes a row of metrics.jsonl."""
        self._state.row(row)
        self._print(event_json(self._state.run, row) if "event" in row else state_json(self._state))

    def look(self, facts: Facts) -> None:
        """Takes what metrics say now, for the next line."""
        self._state.look(facts)

    def silence(self, text: str | None) -> None:
        """A line when the run stops answering, and when it answers again."""
        if (text is None) != (self._state.silence is None):
            self._print({**_head("silence", self._state.run), "message": text or ""})
        self._state.silence = text

    def end(self, exit_code: int | None, message: str) -> None:
        """The last line."""
        line = {"exit_code": exit_code, "message": message}
        self._print({**_head("end", self._state.run), **line})

    def close(self) -> None:
        """Nothing is left to print."""

    @property
    def unread(self) -> bool:
        """Whether whoever read the lines has gone."""
        return self._lines.unread

    def _print(self, line: Mapping[str, Any]) -> None:
        self._lines.write(json.dumps(_finite(line), allow_nan=False))


def event_json(run: str, row: Row) -> dict[str, Any]:
    """An event row."""
    facts = {key: row.get(key) for key in ("event", "step", "message")}
    return {**_head("event", run, row.get("time")), **facts}


def state_json(state: RunState) -> dict[str, Any]:
    """Everything that the live view shows.

    Keys beside the head: `step`, `steps`, `attempt`, `eta_seconds`, `loss` {term: number},
    `cosine` {stream: number}, `floor`, `found` {set: {measure: {now, before, goal, met}}} with
    shares from 0 to 1, `samples_per_second`, `seconds_per_step`, `shares` {part of the time:
    share}, `epoch`, `forget_passes`, `lr`, `grad_norm`, `teacher` {replicas, up, in_flight,
    restarts, resubmitted, failed} or null without a pool, `corrupt_samples`, `checkpoint_step`,
    `steps_to_goal` {goal: steps}, `idle_cores`, `bottleneck` {kind, share, text} or null.
    """
    last, recent, facts, pool = state.last, state.recent, state.facts, state.facts.teacher
    found: dict[str, dict[str, Any]] = {}
    for one in state.found:
        values = {"now": one.now, "before": one.before, "goal": one.goal, "met": one.met}
        found.setdefault(one.set, {})[one.measure] = values
    verdict = state.bottleneck
    return {
        **_head("state", state.run, last.get("time")),
        **{key: last.get(key) for key in ("step", "steps", "attempt")},
        "eta_seconds": recent.eta_seconds(),
        "loss": dict(last.get("loss", {})),
        "cosine": dict(last.get("similarity", {})),
        "floor": last.get("floor"),
        "found": found,
        "samples_per_second": recent.samples_per_second,
        "seconds_per_step": recent.mean_seconds,
        "shares": state.shares,
        **{key: last.get(key) for key in ("epoch", "forget_passes", "lr", "grad_norm")},
        "teacher": None
        if pool is None
        else {
            "replicas": len(pool.up),
            "up": sum(pool.up.values()),
            "in_flight": pool.in_flight,
            "restarts": pool.restarts,
            "resubmitted": pool.resubmitted,
            "failed": pool.failed,
        },
        "corrupt_samples": facts.corrupt,
        "checkpoint_step": facts.checkpoint_step,
        "steps_to_goal": facts.steps_to_goal,
        "idle_cores": facts.idle_cores,
        "bottleneck": None
        if verdict is None
        else {"kind": verdict.kind, "share": verdict.share, "text": verdict.text},
    }


def _head(kind: str, run: str, at: float | None = None) -> dict[str, Any]:
    return {"kind": kind, "run": run, "time": time.time() if at is None else at}


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
