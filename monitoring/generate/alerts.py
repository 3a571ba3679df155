"""The alerts, as data; `rules.py` makes Prometheus' rule file of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dist_erase.observability.definitions.alarms import (
    CHECKPOINT_AGE_SECONDS,
    CHECKPOINT_FAILED,
    CHECKPOINT_TOO_OLD,
    CORRUPT_SAMPLES,
    CORRUPT_SHARE,
    DATA_STARVATION,
    DATA_WAIT_SHARE,
    END_HOURS,
    END_STALLED,
    FAILED_CHECKPOINT_HOURS,
    FORGETTING_STUCK,
    MEMORY_NEAR_LIMIT,
    MEMORY_SHARE,
    NO_PROGRESS_MINUTES,
    NO_RANK_SECONDS,
    NO_STEP_MINUTES,
    NOT_FINITE,
    OVER_FORGETTING,
    POOL_DEGRADED,
    RANK_MISSING,
    RETAIN_DAMAGE,
    SIMILARITY_MARGIN,
    STALLED,
    STALLED_FOR_MINUTES,
    STRAGGLER,
    STRAGGLER_RATIO,
    UNREACHABLE,
    Alarm,
)
from monitoring.generate.conditions import (
    AT_ITS_END,
    FIRST,
    LEVEL,
    MEAN_STEP,
    MEDIAN_WORK,
    NOBODY,
    NOT_BEGUN,
    OVER_BUDGET,
    OWN_WORK,
    SILENT_RANK,
    TOO_FEW,
    TRAINED,
    UNFINISHED,
    by_run,
    matched,
    share,
    similarity,
    time_in,
)
from monitoring.generate.promql import events

Severity = Literal["warning", "critical"]


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One alert.

    Attributes:
        alarm: its record beside the metrics.
        expr: true while something is wrong; one series for each run, at least.
        for_: how long it must be true.
        severity: critical: the run or its result is in danger now.
        summary: one line; `{{ $labels.run }}` names the run.
        description: what it means and the first thing to do, with the value.
    """

    alarm: Alarm
    expr: str
    for_: str
    severity: Severity
    summary: str
    description: str

    @property
    def name(self) -> str:
        """In CamelCase; the heading of its section in docs/runbook.md."""
        return self.alarm.name

    @property
    def anchor(self) -> str:
        """Of its section in the runbook, as Markdown renderers make it."""
        return self.name.lower()


_MINUTES = NO_PROGRESS_MINUTES
_RUN = "{{ $labels.run }}"
_PERCENT = "{{ $value | humanizePercentage }}"
_FAILURES = events("checkpoint_failures_total", f"{FAILED_CHECKPOINT_HOURS}h", "")
_DURATION = "{{ $value | humanizeDuration }}"

ALERTS: tuple[Alert, ...] = (
    Alert(
        alarm=STALLED,
        # The step gauge of rank 0 stays at its value while nothing moves. A run at its end, be it
        # by a goal, only measures and reports; one that has ended is gone from Prometheus.
        expr=f"(max by (run) (changes({FIRST}[{NO_STEP_MINUTES}m])) == 0"
        f" and on (run) max by (run) ({FIRST} offset {NO_STEP_MINUTES}m))"
        f" and on (run) ({UNFINISHED})"
        f" or ({NOT_BEGUN})",
        for_=f"{STALLED_FOR_MINUTES}m",
        severity="critical",
        summary=f"Run {_RUN} makes no steps",
        description=f"No step was finished for {NO_STEP_MINUTES + STALLED_FOR_MINUTES} minutes and "
        "more, and the run is not at its end. Look for the stacks of its data workers in the run "
        "folder, and at the ranks and replicas that are silent.",
    ),
    Alert(
        alarm=END_STALLED,
        expr=AT_ITS_END,
        for_=f"{END_HOURS}h",
        severity="critical",
        summary=f"Run {_RUN} does not come to its end",
        description=f"Its last step was done, and for {END_HOURS} hours and more it has neither "
        "embedded a held-out pair nor ended: a checkpoint, the export, a measurement or the report "
        "hangs. The newest checkpoint holds the work; look at what the driver waits for.",
    ),
    Alert(
        alarm=NOT_FINITE,
        # The run ends at once and is gone after one more scrape, so the alert looks back.
        expr="max by (run) (max_over_time(dist_erase_not_finite_steps_total[10m])) > 0",
        for_="0s",
        severity="critical",
        summary=f"The loss of run {_RUN} is not finite",
        description="The loss or its gradient is NaN or infinite. The run stopped before it saved "
        "anything; start it anew with a lower train.lr, or with train.grad_clip.",
    ),
    Alert(
        alarm=RETAIN_DAMAGE,
        # Not the share of the budget that is spent: a budget of 0 has none.
        expr=f"{OVER_BUDGET} > 0",
        for_="0s",
        severity="critical",
        summary=f"Run {_RUN} damages the retain set beyond its budget",
        description=f"The retain set has lost {_PERCENT} (in points) more than "
        "stop.retain_drop_above. The run ends with exit code 3; the best checkpoint before is "
        "kept.",
    ),
    Alert(
        alarm=FORGETTING_STUCK,
        expr=f"({matched(f'{_MINUTES}m')} > on (run) ({LEVEL} + {SIMILARITY_MARGIN:g}))"
        f" and on (run) (({matched(f'{_MINUTES}m')}"
        f" - {similarity('matched', f'{_MINUTES}m', f' offset {_MINUTES}m')}) > -0.01)"
        f" and on (run) ({UNFINISHED})",
        for_="5m",
        severity="warning",
        summary=f"Run {_RUN} no longer forgets",
        description="Forget pairs are still at similarity {{ $value | humanize }}, above the "
        f"level of pairs that were never paired, and have not moved for {_MINUTES} minutes.",
    ),
    Alert(
        alarm=OVER_FORGETTING,
        expr=f"{matched('5m')} < on (run) ({LEVEL} - {SIMILARITY_MARGIN:g})",
        for_="5m",
        severity="warning",
        summary=f"Run {_RUN} pushes forget pairs below the level of strangers",
        description="Forget pairs are at similarity {{ $value | humanize }}, below pairs that "
        "were never paired. That tends to wipe out other facts of the same images too.",
    ),
    Alert(
        alarm=POOL_DEGRADED,
        expr="avg by (run) (dist_erase_teacher_replica_up) < 1"
        f" unless on (run) ({TRAINED})",  # then the pool is shut down
        for_="2m",
        severity="warning",
        summary=f"Teacher replicas of run {_RUN} do not answer",
        description=f"Only {_PERCENT} of the pool has answered for two minutes. Ray starts dead "
        "replicas again by itself, so something keeps this one from starting.",
    ),
    Alert(
        alarm=DATA_STARVATION,
        expr=f"{time_in('data_wait', 'run')} / {time_in('', 'run')} > {DATA_WAIT_SHARE:g}",
        for_="10m",
        severity="warning",
        summary=f"Run {_RUN} waits for data",
        description=f"{_PERCENT} of the ranks' time passes without a batch at hand.",
    ),
    Alert(
        alarm=CORRUPT_SAMPLES,
        # As data.max_corrupt_fraction: set by set, without what is replaced by design.
        expr='sum by (run, stream) (dist_erase_corrupt_samples_total{reason!="overlap"})'
        f" / sum by (run, stream) (dist_erase_samples_total) > {CORRUPT_SHARE:g}",
        for_="5m",
        severity="warning",
        summary=f"Run {_RUN} meets many unusable samples in its {{{{ $labels.stream }}}} set",
        description=f"{_PERCENT} of what it read of that set had to be replaced because of its "
        "content. The run stops where the distinct ones are more than data.max_corrupt_fraction "
        "of the set.",
    ),
    Alert(
        alarm=CHECKPOINT_FAILED,
        # How often it grew: its process ends with the failure and the next one begins at 0. Looks
        # back as the series may be gone.
        expr=f"sum by (run) ({_FAILURES}) > 0",
        for_="0s",
        severity="critical",
        summary=f"Run {_RUN} cannot write its checkpoints",
        description="{{ $value }} times within the last hour a rank could not write its part. Each "
        "time the workers are started again from the checkpoint before, ray.max_failures times at "
        "most.",
    ),
    Alert(
        alarm=CHECKPOINT_TOO_OLD,
        expr=f"time() - {by_run('checkpoint_timestamp_seconds')} > {CHECKPOINT_AGE_SECONDS:g}"
        f" and on (run) ({UNFINISHED})",
        for_="0s",
        severity="warning",
        summary=f"The newest checkpoint of run {_RUN} is old",
        description=f"A crash now would cost {_DURATION} of work.",
    ),
    Alert(
        alarm=MEMORY_NEAR_LIMIT,
        expr=f"{share('host', 'used')} > {MEMORY_SHARE:g}"
        f" or {share('device', 'peak')} > {MEMORY_SHARE:g}",
        for_="2m",
        severity="critical",
        summary="Node {{ $labels.node }} of run " + _RUN + " is nearly out of memory",
        description=f"{_PERCENT} of the memory of the host or of one of its GPUs is in use. At the "
        "end of it processes of the run are killed or fail.",
    ),
    Alert(
        alarm=RANK_MISSING,
        # Silent while others of its run write, and not left over from an earlier start; or all.
        expr=f"({SILENT_RANK}) or ({TOO_FEW}) or ({NOBODY})",
        for_="1m",
        severity="critical",
        summary="{{ if $labels.rank }}Rank {{ $labels.rank }} of run X is silent{{ else if eq "
        "$value 0.0 }}All ranks of run X are silent{{ else }}A rank of run X is silent"
        "{{ end }}".replace("X", _RUN),
        description=f"{{{{ if $labels.rank }}}}It has written no metrics for {_DURATION}, on node "
        "{{ $labels.node }}, while others of its run do. They will wait for it in the next "
        "collective.{{ else if eq $value 0.0 }}The driver lives, and none of its ranks has written "
        f"metrics for {NO_RANK_SECONDS / 60:g} minutes: they were not started again."
        "{{ else }}Only {{ $value }} of the run's ranks write metrics. They will wait for the "
        "others in the next collective.{{ end }}",
    ),
    Alert(
        alarm=STRAGGLER,
        expr=f"{OWN_WORK} > on (run) group_left () ({STRAGGLER_RATIO:g} * {MEDIAN_WORK})"
        f" and {OWN_WORK} - on (run) group_left () {MEDIAN_WORK}"
        f" > on (run) group_left () (0.1 * {MEAN_STEP})",
        for_="10m",
        severity="warning",
        summary="Rank {{ $labels.rank }} of run " + _RUN + " holds the others up",
        description=f"Its own work takes {_DURATION} a step, more than {STRAGGLER_RATIO:g} times "
        "the median rank's (of two: the other's).",
    ),
    Alert(
        alarm=UNREACHABLE,
        expr='up{job="dist-erase"} == 0',
        for_="2m",
        severity="warning",
        summary="The metrics address {{ $labels.instance }} of a run does not answer",
        description="The run is announced, but its address cannot be scraped: the driver died "
        "without tidying up, or a firewall is between. No other alert of the run can fire.",
    ),
)
