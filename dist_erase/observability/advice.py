"""What would shorten a wait, only as far as the run's own numbers support it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dist_erase.observability.facts import Facts
from dist_erase.observability.rows import Row


def data(share: float, facts: Facts | None) -> str:
    """Of a wait for data.

    Workers make batches beside the step, so w of them that leave `share` of the time waiting
    would have to be w / (1 - share) to leave none; each needs a core that nobody uses, and only
    divisors of the limit are taken.
    """
    if facts is None or facts.data_workers is None or facts.data_workers_limit is None:
        return "more data.workers help if cores are idle, which is not known here"
    now, limit = facts.data_workers, facts.data_workers_limit
    if now >= limit:
        return f"each rank already uses the {now} data workers that its streams allow"
    if facts.idle_cores is None:
        return "more data.workers help if cores are idle, which is not known here"
    room = now + math.floor(facts.idle_cores)
    possible = [n for n in range(now + 1, room + 1) if limit % n == 0]
    if not possible:
        idle = "no core is" if facts.idle_cores < 1 else f"only {facts.idle_cores:.0f} are"
        return f"{idle} idle, so it takes more or faster cores, not more data.workers"
    wanted = now / (1.0 - min(share, 0.99)) if now else 1.0
    target = next((n for n in possible if n >= wanted), possible[-1])
    return (
        f"{target - now} more data.workers would help (data.workers={target}; "
        f"{facts.idle_cores:.0f} idle cores a rank)"
    )


def teacher(share: float, rows: Sequence[Row], facts: Facts | None) -> str:
    """Of a wait for the teacher.

    More replicas help when all are busy: the ranks together have at least one request under way
    for each. Otherwise replicas idle, and asking further ahead helps.
    """
    pool = None if facts is None else facts.teacher
    if pool is None:
        return "more teacher.replicas help a pool that has no idle one, which is not known here"
    up = sum(pool.up.values())
    if up < len(pool.up):
        return f"{len(pool.up) - up} of {len(pool.up)} replicas are down"
    waiting = [r["teacher"]["in_flight"] for r in rows if "in_flight" in r.get("teacher", {})]
    if not waiting or facts is None or facts.world is None:
        return "more teacher.replicas help if none is idle, which is not known here"
    in_flight = facts.world * sum(waiting) / len(waiting)
    if in_flight < up:
        return (
            f"replicas are idle meanwhile ({in_flight:.1f} requests under way for {up}), so a "
            "larger teacher.prefetch would help"
        )
    more = math.ceil(up / (1.0 - min(share, 0.99))) - up
    return f"{more} more teacher.replicas would help, where the cluster has room for them"


def checkpoints() -> str:
    """Of standing still for checkpoints."""
    return "a larger train.checkpoint.every_steps would help"


def evaluations() -> str:
    """Of standing still for live evaluations."""
    return "a larger evaluate.every_steps would help"
