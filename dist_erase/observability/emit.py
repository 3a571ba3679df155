"""Definitions → instruments of one process, with the run's labels bound once.

`Metrics` has one typed attribute per definition, so that a misspelt metric or a missing label is
a type error: `metrics.loss.set(0.3, "forgetting")`, `metrics.samples_total.inc(32, "retain")`.
Label values stand behind the number, in the order of the definition.
"""

from __future__ import annotations

import itertools
import platform
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVarTuple

import prometheus_client as client

from dist_erase.observability.buckets import BucketFamily
from dist_erase.observability.metrics import COMMON_LABELS, DEFINITIONS, Definition, Role

Labels = TypeVarTuple("Labels")


class _Instrument(Generic[*Labels]):
    """One metric with the common labels filled in; a series appears when it is first used."""

    _client: ClassVar[Any]

    def __init__(
        self,
        definition: Definition,
        common: tuple[str, ...],
        registry: client.CollectorRegistry,
    ) -> None:
        self._definition = definition
        self._common = common
        self._parent = self._client(
            definition.name,
            definition.help,
            (*COMMON_LABELS, *(label.name for label in definition.labels)),
            registry=registry,
            **({"buckets": definition.buckets} if definition.buckets else {}),
        )
        self._series: dict[tuple[Any, ...], Any] = {}

    def series(self, values: tuple[Any, ...]) -> Any:
        """The client's series of these label values; ValueError for one not in a closed set."""
        found = self._series.get(values)
        if found is None:
            for label, value in zip(self._definition.labels, values, strict=True):
                if label.values and value not in label.values:
                    raise ValueError(
                        f"{self._definition.name}: {label.name}={value!r} is none of "
                        f"{', '.join(label.values)}"
                    )
            found = self._series[values] = self._parent.labels(*self._common, *values)
        return found


class Counter(_Instrument[*Labels]):
    """A number that only grows."""

    _client = client.Counter

    def inc(self, amount: float, *labels: *Labels) -> None:
        """Adds `amount`, not negative."""
        self.series(labels).inc(amount)


class Gauge(_Instrument[*Labels]):
    """A number that goes up and down; absent until it is first set."""

    _client = client.Gauge

    def set(self, value: float, *labels: *Labels) -> None:
        """Replaces the value."""
        self.series(labels).set(value)


class Histogram(_Instrument[*Labels]):
    """A distribution over fixed buckets."""

    _client = BucketFamily

    def observe(self, value: float, *labels: *Labels) -> None:
        """Adds one observation."""
        self.series(labels).observe(value)

    def add(self, counts: Sequence[float], total: float, *labels: *Labels) -> None:
        """Adds many: counts for each bucket and above the last one, and their sum."""
        self.series(labels).add(counts, total)


class Info(_Instrument[*tuple[str, ...]]):
    """Static facts as labels of a series that is always 1."""

    _client = client.Gauge

    def set(self, **facts: str) -> None:
        """States the facts, one for each label of the definition (ValueError otherwise)."""
        names = [label.name for label in self._definition.labels]
        if set(facts) != set(names):
            raise ValueError(f"{self._definition.name} needs exactly {', '.join(names)}")
        self._parent.clear()
        self._parent.labels(*self._common, *(facts[name] for name in names)).set(1)


_INSTRUMENTS: dict[str, type[_Instrument[*tuple[Any, ...]]]] = {
    "counter": Counter,
    "gauge": Gauge,
    "histogram": Histogram,
    "info": Info,
}


class Metrics:
    """The metrics of one process, in a registry of their own.

    Args:
        run: name of the run.
        role: what this process is.
        rank: its number among those of its role (a teacher's replica number).
        node: the machine; default: its host name.
    """

    loss: Gauge[str]
    objective_weight: Gauge[str]
    matched_similarity: Gauge[str]
    mismatched_similarity: Gauge[str]
    pair_similarity: Histogram[str]
    similarity_floor: Gauge[()]
    forget_at_floor_ratio: Gauge[()]
    forget_passes: Gauge[()]
    evaluation_ratio: Gauge[str, str, str, str]
    evaluations_total: Counter[()]
    evaluation_pairs_total: Counter[str, str]
    evaluation_pairs_planned: Gauge[str, str]
    goal_ratio: Gauge[str]
    goal_distance_ratio: Gauge[str]
    goal_projected_steps: Gauge[str]
    retain_budget_ratio: Gauge[()]
    term_gradient_norm: Gauge[str]
    gradient_cosine_ratio: Gauge[()]
    step: Gauge[()]
    steps_planned: Gauge[()]
    epoch: Gauge[()]
    learning_rate: Gauge[()]
    logit_scale: Gauge[()]
    gradient_norm: Gauge[()]
    samples_total: Counter[str]
    model_flops_ratio: Gauge[()]
    step_seconds: Histogram[()]
    phase_seconds_total: Counter[str]
    read_bytes_total: Counter[str]
    data_workers: Gauge[()]
    data_workers_limit: Gauge[()]
    data_worker_seconds_total: Counter[()]
    data_worker_resident_memory_bytes: Gauge[()]
    node_idle_cores: Gauge[()]
    block_cache_queries_total: Counter[str]
    block_cache_hits_total: Counter[str]
    teacher_requests_total: Counter[()]
    teacher_request_seconds: Histogram[()]
    teacher_requests_in_flight: Gauge[()]
    teacher_resubmissions_total: Counter[()]
    teacher_failures_total: Counter[str]
    teacher_replica_up: Gauge[str]
    teacher_replica_restarts_total: Counter[str]
    teacher_replica_pairs_total: Counter[()]
    teacher_replica_batch_pairs: Histogram[()]
    teacher_replica_queued_requests: Gauge[()]
    teacher_replica_batch_seconds: Histogram[()]
    checkpoint_seconds: Histogram[()]
    checkpoints_total: Counter[str]
    checkpoint_last_step: Gauge[()]
    checkpoint_timestamp_seconds: Gauge[()]
    checkpoint_size_bytes: Gauge[()]
    checkpoint_failures_total: Counter[()]
    not_finite_steps_total: Counter[()]
    corrupt_samples_total: Counter[str, str]
    worker_attempt: Gauge[()]
    worker_restarts_total: Counter[()]
    heartbeat_timestamp_seconds: Gauge[()]
    ranks_expected: Gauge[()]
    resident_memory_bytes: Gauge[()]
    host_memory_bytes: Gauge[str]
    device_memory_bytes: Gauge[str]
    exporter_skipped_snapshots_total: Counter[()]
    exporter_push_failures_total: Counter[()]
    run_start_timestamp_seconds: Gauge[()]
    run_exit_code: Gauge[()]
    run_info: Info

    def __init__(self, *, run: str, role: Role, rank: int, node: str | None = None) -> None:
        self.role = role
        self.rank = rank
        self.registry = client.CollectorRegistry()
        common = (run, role, str(rank), node or platform.node())
        for definition in DEFINITIONS:
            instrument = _INSTRUMENTS[definition.kind](definition, common, self.registry)
            setattr(self, definition.attribute, instrument)
            if definition.role == role and definition.kind in ("counter", "histogram"):
                for values in itertools.product(*(label.values for label in definition.labels)):
                    instrument.series(values)

    def evaluation(self, phase: str, results: Mapping[str, Any]) -> None:
        """Sets `evaluation_ratio` from the nested results of `evaluation.suite`.

        Args:
            phase: `before`, `after` or `live`.
            results: {task: {set: {measure: number or {measure: number}}}}, and for the task
                `tower_swap` {direction: {set: {measure: number}}}, as in report.json. Nested
                names are joined: `image_to_text_r1`, `new_image_old_text_top1`.
        """
        for task, *path, value in _leaves(results):
            # What is measured stands innermost, but a swap's direction stands outermost.
            at = 1 if task == "tower_swap" else 0
            measure = "_".join(path[:at] + path[at + 1 :])
            self.evaluation_ratio.set(value, phase, task, path[at], measure)


def _leaves(tree: Mapping[str, Any]) -> list[list[Any]]:
    """The paths [key, …, key, number] of a nested mapping; values that are no number are left."""
    found: list[list[Any]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found += [[key, *rest] for rest in _leaves(value)]
        elif isinstance(value, int | float):
            found.append([key, value])
    return found
