"""What metrics say of a run beside its steps: pool, goals, figures, cores, measurement, end."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from dist_erase.observability.rows import EventRow
from dist_erase.observability.scrape import Scrape

Figures = dict[str, dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """The teacher pool.

    Attributes:
        up: replica → whether it answers.
        in_flight: requests of all ranks without an answer.
        restarts: of replicas; None = not known.
        resubmitted, failed: requests of all ranks, so far.
    """

    up: dict[str, bool]
    in_flight: int | None = None
    restarts: int | None = None
    resubmitted: int = 0
    failed: int = 0


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One moment of a run; whatever the metrics do not say is None or empty.

    Attributes:
        run: its name.
        world: number of student ranks.
        attempt: how often the workers have been started.
        teacher: the pool; None without one.
        before, live, after: figures as in `EventRow.figures`, by when they were measured.
        measured: held-out pairs embedded for the report after the last step, and those that there
            are; None before that.
        evaluations: live ones so far in this attempt; a run's first is of the original model.
        goals: the run's `stop` section, as far as it sets anything.
        steps_to_goal: goal → steps until it is met as projected, 0 = met, inf = it does not come
            nearer.
        data_workers, data_workers_limit: decoding processes of a rank, and the most it can use.
        idle_cores: for each student rank, on the node where they are fewest.
        worker_seconds: rank → seconds its data workers worked so far.
        data_wait: rank → seconds waited for data so far.
        step_seconds: rank → seconds of all its steps so far.
        corrupt: samples replaced so far because their content is unusable; not those of reason
            `overlap`, which are replaced by design and count towards no limit.
        checkpoint_step: of the newest checkpoint.
        heartbeat: unix time of the newest sign of life of any process but the exporter.
        exit_code: how it ended; None while it runs.
    """

    run: str = ""
    world: int | None = None
    attempt: int | None = None
    teacher: Teacher | None = None
    before: Figures = field(default_factory=dict)
    live: Figures = field(default_factory=dict)
    after: Figures = field(default_factory=dict)
    measured: tuple[int, int] | None = None
    evaluations: int | None = None
    goals: dict[str, float] = field(default_factory=dict)
    steps_to_goal: dict[str, float] = field(default_factory=dict)
    data_workers: int | None = None
    data_workers_limit: int | None = None
    idle_cores: float | None = None
    worker_seconds: dict[str, float] = field(default_factory=dict)
    data_wait: dict[str, float] = field(default_factory=dict)
    step_seconds: dict[str, float] = field(default_factory=dict)
    corrupt: int = 0
    checkpoint_step: int | None = None
    heartbeat: float | None = None
    exit_code: int | None = None


def facts_of(scrape: Scrape) -> Facts:
    """Reads the facts; of several runs at one address only the first's name is told."""
    info = scrape.series("run_info")
    return Facts(
        run=scrape.runs[0] if scrape.runs else "",
        world=int(info[0].labels.get("world_size", 0)) or None if info else None,
        attempt=_whole(scrape.value("worker_attempt", rank="0")),
        teacher=_teacher(scrape),
        before=_figures(scrape, "before"),
        live=_figures(scrape, "live"),
        after=_figures(scrape, "after"),
        measured=_measured(scrape),
        evaluations=_whole(scrape.total("evaluations_total")),
        goals=scrape.by("goal", "goal_ratio"),
        steps_to_goal=scrape.by("goal", "goal_projected_steps"),
        data_workers=_whole(scrape.value("data_workers", rank="0")),
        data_workers_limit=_whole(scrape.value("data_workers_limit", rank="0")),
        idle_cores=_idle_cores(scrape),
        worker_seconds=scrape.by("rank", "data_worker_seconds_total"),
        data_wait=scrape.by("rank", "phase_seconds_total", phase="data_wait"),
        step_seconds=scrape.by("rank", "step_seconds_sum"),
        corrupt=_corrupt(scrape),
        checkpoint_step=_whole(scrape.value("checkpoint_last_step", rank="0")),
        heartbeat=_heartbeat(scrape),
        exit_code=_whole(scrape.value("run_exit_code")),
    )


def pool_changes(before: Teacher | None, now: Teacher | None, time: float) -> list[EventRow]:
    """What happened to the replicas between two moments."""
    if before is None or now is None:
        return []
    changed = {r: up for r, up in now.up.items() if before.up.get(r, True) != up}
    events = [
        EventRow(
            event="teacher",
            time=time,
            message=f"replica {r} {'answers again' if up else 'is down'}",
        )
        for r, up in changed.items()
    ]
    again = now.resubmitted - before.resubmitted
    if again > 0:
        events.append(EventRow(event="teacher", time=time, message=f"batches resubmitted: {again}"))
    return events


def measuring_changes(before: Facts, now: Facts, time: float) -> list[EventRow]:
    """How far the measurement after the last step is, at each tenth of it."""
    if now.measured is None or now.measured[1] == 0:
        return []
    done, planned = now.measured
    if before.measured is not None and 10 * before.measured[0] // planned == 10 * done // planned:
        return []
    words = f"{done:,} of {planned:,} held-out pairs embedded"
    return [EventRow(event="measuring", time=time, message=words)]


def _measured(scrape: Scrape) -> tuple[int, int] | None:
    planned = scrape.total("evaluation_pairs_planned")
    if planned is None:
        return None
    return int(scrape.total("evaluation_pairs_total") or 0), int(planned)


def _teacher(scrape: Scrape) -> Teacher | None:
    up = scrape.by("replica", "teacher_replica_up")
    if not up:
        return None
    return Teacher(
        up={replica: value > 0 for replica, value in sorted(up.items())},
        in_flight=_whole(scrape.total("teacher_requests_in_flight")),
        restarts=_whole(scrape.total("teacher_replica_restarts_total")),
        resubmitted=int(scrape.total("teacher_resubmissions_total") or 0),
        failed=int(scrape.total("teacher_failures_total") or 0),
    )


def _figures(scrape: Scrape, phase: str) -> Figures:
    found: Figures = {}
    for name, share in scrape.by(
        "set", "evaluation_ratio", phase=phase, task="zero_shot", measure="top1"
    ).items():
        found.setdefault(name, {})["top1"] = share
    for measure in ("image_to_text_r1", "text_to_image_r1"):
        for name, share in scrape.by(
            "set", "evaluation_ratio", phase=phase, task="retrieval", measure=measure
        ).items():
            figures = found.setdefault(name, {})
            figures["recall1"] = max(share, figures.get("recall1", 0.0))
    return found


def _corrupt(scrape: Scrape) -> int:
    found = scrape.series("corrupt_samples_total")
    return int(sum(s.value for s in found if s.labels.get("reason") != "overlap"))


def _idle_cores(scrape: Scrape) -> float | None:
    """Idle cores of the scarcest node, shared out among its student ranks."""
    nodes: dict[str, list[float]] = {}
    for sample in scrape.series("node_idle_cores", role="student"):
        nodes.setdefault(sample.labels.get("node", ""), []).append(sample.value)
    return min((min(idle) / len(idle) for idle in nodes.values()), default=None)


def _heartbeat(scrape: Scrape) -> float | None:
    beats = scrape.series("heartbeat_timestamp_seconds")
    return max((s.value for s in beats if s.labels.get("role") != "exporter"), default=None)


def _whole(value: float | None) -> int | None:
    return None if value is None or not math.isfinite(value) else int(value)
