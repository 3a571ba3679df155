"""Every Prometheus metric of dist-erase: one frozen record each, data only.

To add a metric, write its record here and its attribute in `emit.Metrics`; a test holds the two
together. Names follow https://prometheus.io/docs/practices/naming: prefix `dist_erase_`, base
units, `_total` for counters, `_info` for static facts. Every series also carries COMMON_LABELS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PREFIX = "dist_erase_"
COMMON_LABELS = ("run", "role", "rank", "node")

Role = Literal["driver", "student", "teacher", "exporter"]
Kind = Literal["counter", "gauge", "histogram", "info"]
UNITS = ("seconds", "bytes", "ratio")


@dataclass(frozen=True)
class Label:
    """A label of one metric; `values` is the closed set it may take, empty = open."""

    name: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One metric.

    Attributes:
        name: full name, unit and `_total` included.
        kind: how it behaves; an `info` is a gauge that is always 1 and says facts by labels.
        help: one sentence: what, over what, when it is set.
        role: the kind of process that sets it (of students: rank 0 where the help says so).
            Its counters and histograms start at 0 there, so that `rate()` sees the first event.
        labels: labels beside COMMON_LABELS.
        buckets: upper bounds, histograms only.
    """

    name: str
    kind: Kind
    help: str
    role: Role = "student"
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def attribute(self) -> str:
        """The name of its instrument in `emit.Metrics`."""
        return self.name.removeprefix(PREFIX)

    @property
    def unit(self) -> str:
        """Base unit, by the end of the name; "" for plain numbers."""
        name = self.name.removesuffix("_total")
        return next((unit for unit in UNITS if name.endswith(f"_{unit}")), "")


_STREAM = Label("stream", ("forget", "retain"))
_REASON = Label("reason")
_TERM = Label("term", ("retention", "forgetting", "consistency", "anchor", "total"))
_WAITS = ("data_wait", "teacher_wait")
_PHASE = Label("phase", (*_WAITS, "forward", "backward", "optimizer", "checkpoint", "other"))
_WHEN = Label("phase", ("before", "after", "live"))
_FACTS = ("version", "config_hash", "world_size")
_VERSIONS = ("python", "torch", "deepspeed", "ray", "open_clip")

# Two per factor of ten to four: a step takes milliseconds on a GPU and seconds on a CPU.
_STEP_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)
_CHECKPOINT_BUCKETS = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

_IS_IT_FORGETTING = (
    Definition(
        name="dist_erase_loss",
        kind="gauge",
        labels=(_TERM,),
        help="One loss term over the global batch of the last step, unweighted; total is the "
        "weighted sum. Set by rank 0.",
    ),
    Definition(
        name="dist_erase_matched_similarity",
        kind="gauge",
        labels=(_STREAM,),
        help="Mean cosine of matching images and texts over the global batch of the last step. "
        "Set by rank 0.",
    ),
    Definition(
        name="dist_erase_similarity_floor",
        kind="gauge",
        help="Cosine of pairs that were never paired: where forget pairs should end. Set by "
        "rank 0 at the start.",
    ),
    Definition(
        name="dist_erase_forget_at_floor_ratio",
        kind="gauge",
        help="Share of the forget pairs of the last step whose cosine is at the floor or below. "
        "Set by rank 0.",
    ),
    Definition(
        name="dist_erase_forget_passes",
        kind="gauge",
        help="How often each forget pair has been seen so far. Set by rank 0.",
    ),
    Definition(
        name="dist_erase_evaluation_ratio",
        kind="gauge",
        role="driver",
        labels=(_WHEN, Label("task"), Label("set"), Label("measure")),
        help="One figure of an evaluation, as in report.json: accuracies and recalls 0 to 1, "
        "similarities -1 to 1. Live figures are set by student rank 0.",
    ),
)

_HOW_FAR_IS_IT = (
    Definition(
        name="dist_erase_step",
        kind="gauge",
        help="Number of the last finished optimiser step, kept over restarts.",
    ),
    Definition(
        name="dist_erase_steps_planned",
        kind="gauge",
        help="Number of the step that ends the run. Set by rank 0 at the start.",
    ),
    Definition(
        name="dist_erase_epoch",
        kind="gauge",
        help="Passes so far over the set named by data.epoch_of, with fraction. Set by rank 0.",
    ),
    Definition(
        name="dist_erase_learning_rate",
        kind="gauge",
        help="Learning rate of the last step. Set by rank 0.",
    ),
    Definition(
        name="dist_erase_logit_scale",
        kind="gauge",
        help="The student's temperature factor exp(logit_scale) after the last step. Set by "
        "rank 0.",
    ),
    Definition(
        name="dist_erase_gradient_norm",
        kind="gauge",
        help="Global L2 norm of the gradient of the last step, before clipping. Set by rank 0.",
    ),
)

_WHAT_DOES_IT_WAIT_FOR = (
    Definition(
        name="dist_erase_samples_total",
        kind="counter",
        labels=(_STREAM,),
        help="Pairs this rank has trained on since its process started.",
    ),
    Definition(
        name="dist_erase_read_bytes_total",
        kind="counter",
        labels=(_STREAM,),
        help="Bytes this rank has read from shards since its process started.",
    ),
    Definition(
        name="dist_erase_step_seconds",
        kind="histogram",
        buckets=_STEP_BUCKETS,
        help="Wall time of one step of this rank, waits included.",
    ),
    Definition(
        name="dist_erase_phase_seconds_total",
        kind="counter",
        labels=(_PHASE,),
        help="Where the wall time of this rank's steps went.",
    ),
    Definition(
        name="dist_erase_data_workers",
        kind="gauge",
        help="Decoding processes of this rank; 0 = the rank decodes by itself.",
    ),
    Definition(
        name="dist_erase_data_workers_limit",
        kind="gauge",
        help="The most decoding processes that this rank can use; any number in use divides it.",
    ),
    Definition(
        name="dist_erase_node_idle_cores",
        kind="gauge",
        help="Cores that this process may use and nobody used, over the last seconds; the same "
        "for all ranks of a node.",
    ),
)

_IS_THE_TEACHER_WELL = (
    Definition(
        name="dist_erase_teacher_requests_total",
        kind="counter",
        help="Batches this rank has asked the teacher about, resubmissions not counted.",
    ),
    Definition(
        name="dist_erase_teacher_request_seconds",
        kind="histogram",
        buckets=_STEP_BUCKETS,
        help="Time from handing a batch to the teacher to its answer, as this rank saw it.",
    ),
    Definition(
        name="dist_erase_teacher_requests_in_flight",
        kind="gauge",
        help="Batches this rank has handed to the teacher and has no answer to yet.",
    ),
    Definition(
        name="dist_erase_teacher_resubmissions_total",
        kind="counter",
        help="Batches this rank sent to another replica after the first one failed.",
    ),
    Definition(
        name="dist_erase_teacher_failures_total",
        kind="counter",
        labels=(_REASON,),
        help="Teacher requests that failed, as this rank saw it, by reason.",
    ),
    Definition(
        name="dist_erase_teacher_replica_up",
        kind="gauge",
        role="driver",
        labels=(Label("replica"),),
        help="1 while the teacher replica answers, 0 after it was found dead.",
    ),
    Definition(
        name="dist_erase_teacher_replica_pairs_total",
        kind="counter",
        role="teacher",
        help="Pairs this replica has embedded since its process started.",
    ),
    Definition(
        name="dist_erase_teacher_replica_queued_requests",
        kind="gauge",
        role="teacher",
        help="Requests that wait in this replica or are being worked on.",
    ),
    Definition(
        name="dist_erase_teacher_replica_batch_seconds",
        kind="histogram",
        role="teacher",
        buckets=_STEP_BUCKETS,
        help="Time this replica took to embed one request.",
    ),
)

_IS_IT_SAFE = (
    Definition(
        name="dist_erase_checkpoint_seconds",
        kind="histogram",
        buckets=_CHECKPOINT_BUCKETS,
        help="Time this rank took to write one checkpoint, manifest included.",
    ),
    Definition(
        name="dist_erase_checkpoint_last_step",
        kind="gauge",
        help="Step of the newest complete checkpoint. Set by rank 0.",
    ),
    Definition(
        name="dist_erase_checkpoint_size_bytes",
        kind="gauge",
        help="Size of the newest complete checkpoint, all ranks together. Set by rank 0.",
    ),
    Definition(
        name="dist_erase_checkpoint_failures_total",
        kind="counter",
        help="Checkpoints that this rank could not write.",
    ),
    Definition(
        name="dist_erase_corrupt_samples_total",
        kind="counter",
        labels=(_STREAM, _REASON),
        help="Samples of this rank's batches that were replaced because of their content.",
    ),
    Definition(
        name="dist_erase_worker_attempt",
        kind="gauge",
        help="How often this run's workers have been started, 1 = never restarted.",
    ),
    Definition(
        name="dist_erase_heartbeat_timestamp_seconds",
        kind="gauge",
        help="Unix time at which this process last wrote its metrics; every role sets it.",
    ),
    Definition(
        name="dist_erase_exporter_skipped_snapshots_total",
        kind="counter",
        role="exporter",
        help="Snapshot files left out of a scrape because they were broken or vanished.",
    ),
)

_WHAT_IS_IT = (
    Definition(
        name="dist_erase_run_exit_code",
        kind="gauge",
        role="driver",
        help="How the run ended, as its exit code; absent until then, and served in the time of "
        "grace.",
    ),
    Definition(
        name="dist_erase_run_info",
        kind="info",
        role="driver",
        labels=tuple(map(Label, (*_FACTS, *_VERSIONS))),
        help="What runs: versions, hash of the configuration, number of student ranks.",
    ),
)

DEFINITIONS: tuple[Definition, ...] = (
    *_IS_IT_FORGETTING,
    *_HOW_FAR_IS_IT,
    *_WHAT_DOES_IT_WAIT_FOR,
    *_IS_THE_TEACHER_WELL,
    *_IS_IT_SAFE,
    *_WHAT_IS_IT,
)
