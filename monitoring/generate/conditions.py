"""Pieces of the alerts' expressions: what is true of a run, a rank or a node."""

from __future__ import annotations

from dist_erase.observability.definitions.alarms import (
    HEARTBEAT_AGE_SECONDS,
    NO_RANK_SECONDS,
    NO_STEP_MINUTES,
)


def by_run(metric: str, labels: str = "") -> str:
    """The highest value of each run."""
    return f"max by (run) (dist_erase_{metric}{_braced(labels)})"


def _braced(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _remembered(aggregate: str, selector: str) -> str:
    """Of each start of a run, what was told within hours, by nodes that are gone too."""
    return f"{aggregate} by (run, start) (last_over_time(dist_erase_{selector}[6h]))"


FIRST = 'dist_erase_step{rank="0"}'
_STEP = by_run("step", 'role="student"')
# The least: goals lower it, and the old node of a rank that moved does not hear of that.
_PLANNED = "min by (run) (dist_erase_steps_planned)"
UNFINISHED = f"{_STEP} < on (run) {_PLANNED}"
TRAINED = f"{_STEP} >= on (run) {_PLANNED}"
# Rank 0 tells a step, be it 0, once it has model and data; before that it may hang as well.
NOT_BEGUN = (
    f"max by (run) (time() - dist_erase_run_start_timestamp_seconds) > {NO_STEP_MINUTES} * 60"
    f" unless on (run) {_STEP} unless on (run) dist_erase_run_exit_code"
)
_BEAT = 'dist_erase_heartbeat_timestamp_seconds{role="student"}'
_SILENCE = f"(time() - {_BEAT})"
# With an address a node, a rank that Ray started again elsewhere is still told by its old node.
_CURRENT = (
    "on (run, rank, node) (dist_erase_worker_attempt"
    " == on (run) group_left () max by (run) (dist_erase_worker_attempt))"
)
_FRESH = f"count by (run) (count by (run, rank) ({_SILENCE} < {HEARTBEAT_AGE_SECONDS:g}))"
SILENT_RANK = (
    f"({_SILENCE} > {HEARTBEAT_AGE_SECONDS:g} and {_CURRENT})"
    f" and on (run) (min by (run) ({_SILENCE}) < {HEARTBEAT_AGE_SECONDS:g})"
)
# Of a node that is lost with its address no series is left; the driver says how many there are.
TOO_FEW = (
    f"({_FRESH} < on (run) {by_run('ranks_expected')})"
    f" unless on (run) ({_STEP} >= on (run) {_PLANNED})"
    f" unless on (run) ({SILENT_RANK})"
)
_DONE = _remembered("max", 'step{role="student",rank="0"}')
_TO_DO = _remembered("min", "steps_planned")
_DRIVER = 'dist_erase_heartbeat_timestamp_seconds{role="driver"}'
# The driver beats from a thread of its own, so that it says that the process lives and no more.
# After a crash in the last step a run goes on before its end: then its steps change again.
AT_ITS_END = (
    f"max by (run) ({_DONE} >= on (run, start) {_TO_DO} and on (run, start) {_DRIVER}"
    " unless on (run, start) dist_erase_run_exit_code)"
    f' unless on (run) max by (run) (changes(dist_erase_step{{role="student"}}'
    f"[{NO_STEP_MINUTES}m])) > 0"
    " unless on (run) max by (run) (changes(dist_erase_evaluation_pairs_total"
    f"[{NO_STEP_MINUTES}m])) > 0"
)
# Until they have loaded, and from the last step on, no rank has to be there.
NOBODY = (
    f"0 * max by (run) ({_DONE} < on (run, start) {_TO_DO}"
    f" and on (run, start) (time() - {_DRIVER} < {HEARTBEAT_AGE_SECONDS:g})"
    " unless on (run, start) dist_erase_run_exit_code)"
    f" unless on (run) time() - max by (run) (max_over_time({_BEAT}[{NO_RANK_SECONDS:g}s]))"
    f" < {NO_RANK_SECONDS:g}"
)
OVER_BUDGET = by_run("goal_distance_ratio", 'goal="retain_drop_above"')


def similarity(kind: str, window: str, before: str = "") -> str:
    """Mean similarity of forget pairs over a window, as the workers' newest attempt tells it."""
    over = f'dist_erase_{kind}_similarity{{stream="forget"}}[{window}]{before}'
    return f"max by (run) (avg_over_time({over}) and {_CURRENT})"


def matched(window: str) -> str:
    """That of matching forget pairs."""
    return similarity("matched", window)


LEVEL = similarity("mismatched", "5m")


def time_in(phases: str, by: str) -> str:
    """Seconds per second in these phases."""
    labels = f'phase=~"{phases}"' if phases else ""
    return f"sum by ({by}) (rate(dist_erase_phase_seconds_total{_braced(labels)}[5m]))"


def share(of: str, kind: str) -> str:
    """The fullest memory of each node, as a share of its limit; dead processes tell nothing."""
    used, limit = (f'dist_erase_{of}_memory_bytes{{kind="{name}"}}' for name in (kind, "limit"))
    beat = "time() - dist_erase_heartbeat_timestamp_seconds"
    alive = f"on (run, role, rank, node) ({beat} < {HEARTBEAT_AGE_SECONDS:g})"
    return f"max by (run, node) (({used} and {alive}) / ignoring (kind) {limit})"


OWN_WORK = "run_rank:dist_erase_own_work_seconds:rate5m"
MEAN_STEP = "run:dist_erase_step_seconds:rate5m"
# The median of two is their mean: there the other rank is what one is compared with.
MEDIAN_WORK = (
    f"(min by (run) ({OWN_WORK}) and on (run) count by (run) ({OWN_WORK}) < 3"
    f" or on (run) quantile by (run) (0.5, {OWN_WORK}))"
)
_WORK = time_in("data_wait|teacher_wait|forward", "run, rank")

# name → expression, each a mean over the steps of five minutes
RECORDED = {
    OWN_WORK: f"{_WORK} / sum by (run, rank) (rate(dist_erase_step_seconds_count[5m]))",
    MEAN_STEP: "sum by (run) (rate(dist_erase_step_seconds_sum[5m]))"
    " / sum by (run) (rate(dist_erase_step_seconds_count[5m]))",
}
