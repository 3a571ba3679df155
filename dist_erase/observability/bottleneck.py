"""What a run's steps wait for, in plain words."""

from __future__ import annotations

from collections.abc import Sequence

from dist_erase.observability.rows import Row

_COMPUTE = ("forward", "backward", "communication", "optimizer")
_WAITS = {
    "data_wait": "waits for data; more data.workers would help",
    "teacher_wait": "waits for the teacher; more teacher.replicas would help",
    "checkpoint": "writes checkpoints; a larger train.checkpoint.every_steps would help",
}
# Less waiting than this is not worth a change of the set-up.
_WORTH_SAYING = 0.10


def shares(rows: Sequence[Row]) -> dict[str, float]:
    """Each part of `seconds` as a share of the time of all these steps; {} without times.

    The shares are of summed seconds, not means of shares, so that long steps count as such.
    """
    times = [row["seconds"] for row in rows if row.get("seconds")]
    total = sum(time.get("step", 0.0) for time in times)
    if total <= 0:
        return {}
    parts = {name for time in times for name in time} - {"step"}
    return {
        name: min(1.0, sum(time.get(name, 0.0) for time in times) / total) for name in sorted(parts)
    }


def bottleneck(rows: Sequence[Row]) -> str | None:
    """One line on the largest wait of recent step rows, or that there is none worth a change.

    None when no row has times. The times are those of rank 0, which waits for slower ranks in
    its own backward: a straggler shows as computing.
    """
    share = shares(rows)
    if not share:
        return None
    worst = max(_WAITS, key=lambda name: share.get(name, 0.0))
    if share.get(worst, 0.0) >= _WORTH_SAYING:
        return f"{100 * share[worst]:.0f} % of the step {_WAITS[worst]}"
    compute = min(1.0, sum(share.get(name, 0.0) for name in _COMPUTE))
    line = f"the student computes {100 * compute:.0f} % of the step"
    unknown = 1.0 - compute - sum(share.get(name, 0.0) for name in _WAITS)
    if unknown >= _WORTH_SAYING:
        line += f"; {100 * unknown:.0f} % is none of the measured phases"
    return line
