"""The alerts, as data; `rules.py` makes Prometheus' rule file of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dist_erase.observability.definitions.alarms import (
    CHECKPOINT_AGE_SECONDS,
    CHECKPOINT_TOO_OLD,
    CORRUPT_SAMPLES,
    CORRUPT_SHARE,
    DATA_STARVATION,
    DATA_WAIT_SHARE,
    FORGETTING_STUCK,
    HEARTBEAT_AGE_SECONDS,
    MEMORY_NEAR_LIMIT,
    MEMORY_SHARE,
    NO_PROGRESS_MINUTES,
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


def _by_run(metric: str, labels: str = "") -> str:
    return f"max by (run) (dist_erase_{metric}{_braced(labels)})"


def _braced(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


_FIRST = 'dist_erase_step{rank="0"}'
_STEP = _by_run("step", 'role="student"')
_UNFINISHED = f"{_STEP} < on (run) {_by_run('steps_planned')}"
# Rank 0 tells a step, be it 0, once it has model and data; before that it may hang as well.
_NOT_BEGUN = (
    f"max by (run) (time() - dist_erase_run_start_timestamp_seconds) > {NO_STEP_MINUTES} * 60"
    f" unless on (run) {_STEP} unless on (run) dist_erase_run_exit_code"
)
_SILENCE = '(time() - dist_erase_heartbeat_timestamp_seconds{role="student"})'
# With an address a node, a rank that Ray started again elsewhere is still told by its old node.
_CURRENT = (
    "on (run, rank, node) (dist_erase_worker_attempt"
    " == on (run) group_left () max by (run) (dist_erase_worker_attempt))"
)
_FRESH = f"count by (run) (count by (run, rank) ({_SILENCE} < {HEARTBEAT_AGE_SECONDS:g}))"
_SILENT_RANK = (
    f"({_SILENCE} > {HEARTBEAT_AGE_SECONDS:g} and {_CURRENT})"
    f" and on (run) (min by (run) ({_SILENCE}) < {HEARTBEAT_AGE_SECONDS:g})"
)
# Of a node that is lost with its address no series is left; the driver says how many there are.
_TOO_FEW = (
    f"({_FRESH} < on (run) {_by_run('ranks_expected')})"
    f" unless on (run) ({_STEP} >= on (run) {_by_run('steps_planned')})"
    f" unless on (run) ({_SILENT_RANK})"
)
_OVER_BUDGET = _by_run("goal_distance_ratio", 'goal="retain_drop_above"')


def _similarity(kind: str, window: str, before: str = "") -> str:
    """Mean similarity of forget pairs over a window, as the workers' newest attempt tells it."""
    over = f'dist_erase_{kind}_similarity{{stream="forget"}}[{window}]{before}'
    return f"max by (run) (avg_over_time({over}) and {_CURRENT})"


def _matched(window: str) -> str:
    return _similarity("matched", window)


_LEVEL = _similarity("mismatched", "5m")


def _time_in(phases: str, by: str) -> str:
    """Seconds per second in these phases."""
    labels = f'phase=~"{phases}"' if phases else ""
    return f"sum by ({by}) (rate(dist_erase_phase_seconds_total{_braced(labels)}[5m]))"


def _share(of: str, kind: str) -> str:
    """The fullest memory of each node, as a share of its limit; dead processes tell nothing."""
    used, limit = (f'dist_erase_{of}_memory_bytes{{kind="{name}"}}' for name in (kind, "limit"))
    beat = "time() - dist_erase_heartbeat_timestamp_seconds"
    alive = f"on (run, role, rank, node) ({beat} < {HEARTBEAT_AGE_SECONDS:g})"
    return f"max by (run, node) (({used} and {alive}) / ignoring (kind) {limit})"


_OWN_WORK = "run_rank:dist_erase_own_work_seconds:rate5m"
_MEAN_STEP = "run:dist_erase_step_seconds:rate5m"
# The median of two is their mean: there the other rank is what one is compared with.
_MEDIAN_WORK = (
    f"(min by (run) ({_OWN_WORK}) and on (run) count by (run) ({_OWN_WORK}) < 3"
    f" or on (run) quantile by (run) (0.5, {_OWN_WORK}))"
)
_WORK = _time_in("data_wait|teacher_wait|forward", "run, rank")

# name → expression, each a mean over the steps of five minutes
RECORDED = {
    _OWN_WORK: f"{_WORK} / sum by (run, rank) (rate(dist_erase_step_seconds_count[5m]))",
    _MEAN_STEP: "sum by (run) (rate(dist_erase_step_seconds_sum[5m]))"
    " / sum by (run) (rate(dist_erase_step_seconds_count[5m]))",
}
_MINUTES = NO_PROGRESS_MINUTES
_RUN = "{{ $labels.run }}"
_PERCENT = "{{ $value | humanizePercentage }}"
_DURATION = "{{ $value | humanizeDuration }}"

ALERTS: tuple[Alert, ...] = (
    Alert(
        alarm=STALLED,
        # The step gauge of rank 0 stays at its value while nothing moves. A run at its end, be it
        # by a goal, only measures and reports; one that has ended is gone from Prometheus.
        expr=f"(max by (run) (changes({_FIRST}[{NO_STEP_MINUTES}m])) == 0"
        f" and on (run) max by (run) ({_FIRST} offset {NO_STEP_MINUTES}m))"
        f" and on (run) ({_UNFINISHED})"
        f" or ({_NOT_BEGUN})",
        for_=f"{STALLED_FOR_MINUTES}m",
        severity="critical",
        summary=f"Run {_RUN} makes no steps",
        description=f"No step was finished for {NO_STEP_MINUTES + STALLED_FOR_MINUTES} minutes and "
        "more, and the run is not at its end. Look for the stacks of its data workers in the run "
        "folder, and at the ranks and replicas that are silent.",
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
        expr=f"{_OVER_BUDGET} > 0",
        for_="0s",
        severity="critical",
        summary=f"Run {_RUN} damages the retain set beyond its budget",
        description=f"The retain set has lost {_PERCENT} (in points) more than "
        "stop.retain_drop_above. The run ends with exit code 3; the best checkpoint before is "
        "kept.",
    ),
    Alert(
        alarm=FORGETTING_STUCK,
        expr=f"({_matched(f'{_MINUTES}m')} > on (run) ({_LEVEL} + {SIMILARITY_MARGIN:g}))"
        f" and on (run) (({_matched(f'{_MINUTES}m')}"
        f" - {_similarity('matched', f'{_MINUTES}m', f' offset {_MINUTES}m')}) > -0.01)"
        f" and on (run) ({_UNFINISHED})",
        for_="5m",
        severity="warning",
        summary=f"Run {_RUN} no longer forgets",
        description="Forget pairs are still at similarity {{ $value | humanize }}, above the "
        f"level of pairs that were never paired, and have not moved for {_MINUTES} minutes.",
    ),
    Alert(
        alarm=OVER_FORGETTING,
        expr=f"{_matched('5m')} < on (run) ({_LEVEL} - {SIMILARITY_MARGIN:g})",
        for_="5m",
        severity="warning",
        summary=f"Run {_RUN} pushes forget pairs below the level of strangers",
        description="Forget pairs are at similarity {{ $value | humanize }}, below pairs that "
        "were never paired. That tends to wipe out other facts of the same images too.",
    ),
    Alert(
        alarm=POOL_DEGRADED,
        expr="avg by (run) (dist_erase_teacher_replica_up) < 1",
        for_="2m",
        severity="warning",
        summary=f"Teacher replicas of run {_RUN} do not answer",
        description=f"Only {_PERCENT} of the pool has answered for two minutes. Ray starts dead "
        "replicas again by itself, so something keeps this one from starting.",
    ),
    Alert(
        alarm=DATA_STARVATION,
        expr=f"{_time_in('data_wait', 'run')} / {_time_in('', 'run')} > {DATA_WAIT_SHARE:g}",
        for_="10m",
        severity="warning",
        summary=f"Run {_RUN} waits for data",
        description=f"{_PERCENT} of the ranks' time passes without a batch at hand.",
    ),
    Alert(
        alarm=CORRUPT_SAMPLES,
        expr="sum by (run) (dist_erase_corrupt_samples_total)"
        f" / sum by (run) (dist_erase_samples_total) > {CORRUPT_SHARE:g}",
        for_="5m",
        severity="warning",
        summary=f"Run {_RUN} meets many unusable samples",
        description=f"{_PERCENT} of the samples had to be replaced because of their content. At "
        "data.max_corrupt_fraction the run stops.",
    ),
    Alert(
        alarm=CHECKPOINT_TOO_OLD,
        expr=f"time() - {_by_run('checkpoint_timestamp_seconds')} > {CHECKPOINT_AGE_SECONDS:g}"
        f" and on (run) ({_UNFINISHED})",
        for_="0s",
        severity="warning",
        summary=f"The newest checkpoint of run {_RUN} is old",
        description=f"A crash now would cost {_DURATION} of work.",
    ),
    Alert(
        alarm=MEMORY_NEAR_LIMIT,
        expr=f"{_share('host', 'used')} > {MEMORY_SHARE:g}"
        f" or {_share('device', 'peak')} > {MEMORY_SHARE:g}",
        for_="2m",
        severity="critical",
        summary="Node {{ $labels.node }} of run " + _RUN + " is nearly out of memory",
        description=f"{_PERCENT} of the memory of the host or of one of its GPUs is in use. At the "
        "end of it processes of the run are killed or fail.",
    ),
    Alert(
        alarm=RANK_MISSING,
        # Silent while others of its run write, and not left over from an earlier start.
        expr=f"({_SILENT_RANK}) or ({_TOO_FEW})",
        for_="1m",
        severity="critical",
        summary="{{ if $labels.rank }}Rank {{ $labels.rank }}{{ else }}A rank{{ end }} of run "
        + _RUN
        + " is silent",
        description=f"{{{{ if $labels.rank }}}}It has written no metrics for {_DURATION}, on node "
        "{{ $labels.node }}, while others of its run do.{{ else }}Only {{ $value }} of the run's "
        "ranks write metrics.{{ end }} They will wait for it in the next collective.",
    ),
    Alert(
        alarm=STRAGGLER,
        expr=f"{_OWN_WORK} > on (run) group_left () ({STRAGGLER_RATIO:g} * {_MEDIAN_WORK})"
        f" and {_OWN_WORK} - on (run) group_left () {_MEDIAN_WORK}"
        f" > on (run) group_left () (0.1 * {_MEAN_STEP})",
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
