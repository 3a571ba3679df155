"""What would shorten a wait, only as far as the run's own numbers support it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dist_erase.observability.facts import Facts
from dist_erase.observability.rows import Row

# Data workers that work less than this are not what the step waits for.
_BUSY = 0.5


def data(share: float, facts: Facts | None, workers_busy: float | None) -> str:
    """Of a wait for data.

    Workers make batches beside the step, so w of them that leave `share` of the time waiting
    would have to be w / (1 - share) to leave none; each needs a core that nobody uses, and only
    divisors of the limit are taken.

    Args:
        share: of the time that is waited.
        facts: None = nothing is known.
        workers_busy: how many workers of a rank work at a time, on the mean; None = not known.
    """
    if facts is None or facts.data_workers is None or facts.data_workers_limit is None:
        return "more data.workers help if cores are idle, which is not known here"
    now, limit = facts.data_workers, facts.data_workers_limit
    if workers_busy is not None and now and workers_busy < _BUSY * now:
        percent = f"{100 * workers_busy / now:.0f} %"
        return f"data workers are busy only {percent} of it, so more data.workers would not help"
    if now >= limit:
        return f"each rank already uses the {now} data workers that its streams allow"
    if facts.idle_cores is None:
        return "more data.workers help if cores are idle, which is not known here"
    room = now + math.floor(facts.idle_cores)
    possible = [n for n in range(now + 1, room + 1) if limit % n == 0]
    if not possible and facts.idle_cores < 1:
        return "no core is idle, so it takes more or faster cores, not more data.workers"
    if not possible:
        fitting = next(n for n in range(now + 1, limit + 1) if limit % n == 0)
        return (
            f"the next number that fits, data.workers={fitting}, needs more idle cores than the "
            f"{room - now} a rank has"
        )
    wanted = now / (1.0 - min(share, 0.99)) if now else 1.0
    target = next((n for n in possible if n >= wanted), possible[-1])
    return (
        f"{target - now} more data.workers would help (data.workers={target}; "
        f"{room - now} idle cores a rank)"
    )


def teacher(share: float, rows: Sequence[Row], facts: Facts | None) -> str:
    """Of a wait for the teacher.

    More replicas help when all are busy: the ranks together have at least one request under way
    for each. Otherwise replicas idle, and asking further ahead helps.
    """
    if facts is None or facts.world is None:
        return "more teacher.replicas help a pool that has no idle one, which is not known here"
    pool = facts.teacher
    if pool is None:
        return (
            "each rank asks its own copy; a pool (on Ray, teacher.kind=pool) on cores or GPUs that "
            "are idle would answer beside the step"
        )
    up = sum(pool.up.values())
    if up < len(pool.up):
        verb = "is" if len(pool.up) - up == 1 else "are"
        return f"{len(pool.up) - up} of {len(pool.up)} replicas {verb} down"
    waiting = [r["teacher"]["in_flight"] for r in rows if "in_flight" in r.get("teacher", {})]
    if not waiting:
        return "more teacher.replicas help if none is idle, which is not known here"
    in_flight = facts.world * sum(waiting) / len(waiting)
    if in_flight < up:
        return (
            f"replicas are idle meanwhile ({in_flight:.1f} requests under way for {up}), so a "
            "larger teacher.prefetch would help"
        )
    more = math.ceil(up / (1.0 - min(share, 0.99))) - up
    return f"{more} more teacher.replicas would help, where the cluster has room for them"


def checkpoints(*, often: bool) -> str:
    """Of standing still for checkpoints; one alone may be written for another reason."""
    return "; a larger train.checkpoint.every_steps would help" if often else ""


def evaluations(*, often: bool) -> str:
    """Of standing still for live evaluations."""
    return "; a larger evaluate.every_steps would help" if often else ""
