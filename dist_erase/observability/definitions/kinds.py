"""What a metric's record says, and the label sets that several metrics share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dist_erase.errors import STOP_KINDS, StopKind
from dist_erase.observability.definitions.alarms import Alarm

PREFIX = "dist_erase_"
COMMON_LABELS = ("run", "role", "rank", "node")
# What the address adds to every series: which start of the run it is of, in Unix time.
START = "start"

Role = Literal["driver", "student", "teacher", "evaluation", "exporter"]
Kind = Literal["counter", "gauge", "histogram", "info"]
Unit = Literal["", "seconds", "bytes", "ratio"]
Dashboard = Literal["progress", "throughput", "cluster", "compare"]
UNITS: tuple[Unit, ...] = ("seconds", "bytes", "ratio")


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
        unit: base unit, which also ends the name; "" for plain numbers.
        help: one sentence: what, over what, when it is set.
        dashboard: where it is shown first; `compare` shows those of several runs.
        question: what a reader of that panel asks; metrics of one panel share it.
        role: the kind of process that sets it (of students: rank 0 where the help says so).
            Its counters and histograms start at 0 there, so that `rate()` sees the first event.
        labels: labels beside COMMON_LABELS.
        buckets: upper bounds, histograms only.
        alerts: those that look at it.
        when: condition under which a run has it, "" = every erasing run with a teacher pool.
    """

    name: str
    kind: Kind
    help: str
    dashboard: Dashboard
    question: str
    unit: Unit = ""
    role: Role = "student"
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()
    alerts: tuple[Alarm, ...] = ()
    when: str = ""

    @property
    def attribute(self) -> str:
        """The name of its instrument in `emit.Metrics`."""
        return self.name.removeprefix(PREFIX)


TERMS = ("retention", "forgetting", "consistency", "anchor")
PHASES = (
    "data_wait",
    "teacher_wait",
    "forward",
    "backward",
    "communication",
    "optimizer",
    "gradients",
    "evaluation",
    "checkpoint",
    "other",
)
CheckpointReason = StopKind | Literal["interval", "end", "best"]
MEASURED_MODELS = ("original", "erased")
GOALS = ("forget_top1_below", "forget_recall_below", "retain_drop_above")

STREAM = Label("stream", ("forget", "retain"))
REASON = Label("reason")
CHECKPOINT_REASON = Label("reason", ("interval", "end", "best", *STOP_KINDS))
REPLICA = Label("replica")
TERM = Label("term", TERMS)
TERM_OR_TOTAL = Label("term", (*TERMS, "total"))
PHASE = Label("phase", PHASES)
GOAL = Label("goal", GOALS)

# Two per factor of ten to four: a step takes milliseconds on a GPU and seconds on a CPU.
STEP_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)
# Dense where CLIP's matched and mismatched pairs lie.
COSINE_BUCKETS = (
    *(-0.8, -0.6, -0.4, -0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.15, 0.2),
    *(0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
)
GOALS_SET = "goals of `stop` are set"
