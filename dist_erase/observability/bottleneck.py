"""What a run's steps wait for, in plain words, and what would help as far as numbers show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dist_erase.observability.advice import checkpoints, data, evaluations, teacher
from dist_erase.observability.facts import Facts
from dist_erase.observability.rows import Row

Kind = Literal["data", "teacher", "checkpoint", "evaluation", "straggler", "student"]
_COMPUTE = ("forward", "backward", "optimizer")
_WAITS: dict[str, Kind] = {
    "data_wait": "data",
    "teacher_wait": "teacher",
    "checkpoint": "checkpoint",
    "evaluation": "evaluation",
}
# Less waiting than this is not worth a change of the set-up.
_WORTH_SAYING = 0.10
# Fewer steps than this say little: the first ones also start workers and fill caches.
_FEWEST_STEPS = 5


@dataclass(frozen=True, kw_only=True)
class Bottleneck:
    """Where the time goes.

    Attributes:
        kind: the largest wait, or `student` where none is worth a change.
        share: of the time, 0 to 1.
        text: one sentence.
    """

    kind: Kind
    share: float
    text: str


def shares(rows: Sequence[Row]) -> dict[str, float]:
    """Each part of `seconds` as a share of the time of all these steps; {} without times.

    The shares are of summed seconds, not means of shares, so that long steps count as such.
    """
    times = [(row["seconds"], row.get("covers", 1)) for row in rows if row.get("seconds")]
    total = sum(time.get("step", 0.0) * steps for time, steps in times)
    if total <= 0:
        return {}
    parts = {name for time, _ in times for name in time} - {"step"}
    return {
        name: min(1.0, sum(time.get(name, 0.0) * steps for time, steps in times) / total)
        for name in sorted(parts)
    }


def bottleneck(
    rows: Sequence[Row],
    facts: Facts | None = None,
    *,
    data_waits: Mapping[str, float] | None = None,
    workers_busy: float | None = None,
) -> Bottleneck | None:
    """The largest wait of recent step rows, or that there is none worth a change.

    None while too few steps have times. The rows' times are those of rank 0, which waits for
    slower ranks in its own backward: a straggler shows there as computing.

    Args:
        rows: oldest first.
        facts: what is known beside them; advice that needs more than that is not given.
        data_waits: rank → share of its recent time that it waited for data.
        workers_busy: how many of rank 0's data workers work at a time, on the mean.
    """
    steady = _steady(rows)
    share = shares(steady)
    if not share or sum(row.get("covers", 1) for row in steady) < _FEWEST_STEPS:
        return None
    worst = max(_WAITS, key=lambda name: share.get(name, 0.0))
    if share.get(worst, 0.0) >= _WORTH_SAYING:
        text = _wait(worst, share[worst], steady, facts, workers_busy)
        return Bottleneck(kind=_WAITS[worst], share=share[worst], text=text)
    return _straggler(share, data_waits or {}) or _student(share)


def _wait(
    name: str, share: float, rows: Sequence[Row], facts: Facts | None, workers_busy: float | None
) -> str:
    percent = f"{100 * share:.0f} %"
    often = sum(row["seconds"].get(name, 0.0) > 0 for row in rows if row.get("seconds")) > 1
    match name:
        case "data_wait":
            return f"{percent} of the step waits for data; {data(share, facts, workers_busy)}"
        case "teacher_wait":
            return f"{percent} of the step waits for the teacher; {teacher(share, rows, facts)}"
        case "checkpoint":
            return f"{percent} of the time goes into checkpoints" + checkpoints(often=often)
        case _:
            return f"{percent} of the time goes into live evaluations" + evaluations(often=often)


def _straggler(share: Mapping[str, float], data_waits: Mapping[str, float]) -> Bottleneck | None:
    if not data_waits:
        return None
    rank = max(data_waits, key=lambda rank: data_waits[rank])
    if data_waits[rank] < share.get("data_wait", 0.0) + _WORTH_SAYING:
        return None
    text = (
        f"rank {rank} waits for data {100 * data_waits[rank]:.0f} % of its time, "
        "and the others wait for it"
    )
    return Bottleneck(kind="straggler", share=data_waits[rank], text=text)


def _student(share: Mapping[str, float]) -> Bottleneck:
    compute = min(1.0, sum(share.get(name, 0.0) for name in _COMPUTE))
    text = f"the student computes {100 * compute:.0f} % of the step"
    between = share.get("communication", 0.0)
    if between >= _WORTH_SAYING:
        text += f", {100 * between:.0f} % is communication between ranks"
    unknown = 1.0 - sum(value for name, value in share.items() if name != "other")
    if unknown >= _WORTH_SAYING:
        text += f"; {100 * unknown:.0f} % is none of the measured phases"
    return Bottleneck(kind="student", share=compute, text=text)


def _steady(rows: Sequence[Row]) -> Sequence[Row]:
    """Without the first step, which also starts workers, where there are others."""
    return rows[1:] if len(rows) > 1 and rows[0].get("covers", 1) == 1 else rows
