"""Pieces of queries that several panels share."""

from __future__ import annotations

RUN = 'run="$run"'
RUNS = 'run=~"$run"'
# Of one run's processes, those of the chosen ranks and nodes.
PLACED = f'{RUN},rank=~"$rank",node=~"$node"'
WINDOW = "$__rate_interval"
# Counters move once a step. Grafana's rate interval is 20 s with a scrape each 5 s, in which a slow
# run makes none: a single number would be 0 or blank most of the time.
LATELY = "5m"


def where(labels: str, **more: str) -> str:
    """`labels` and more of them: `~x` matches a regular expression, `!x` all but x."""
    signs = {"~": "=~", "!": "!="}
    added = (
        f'{name}{signs[value[0]]}"{value[1:]}"' if value[0] in signs else f'{name}="{value}"'
        for name, value in more.items()
    )
    return ",".join((labels, *added))


def selector(metric: str, labels: str) -> str:
    """dist_erase_METRIC{labels}."""
    return f"dist_erase_{metric}{{{labels}}}"


def last(metric: str, labels: str = RUN) -> str:
    """The last value within the time shown, of the newest start of each run.

    Runs that have ended keep theirs. A start that was resumed or replaced has other labels
    (address, Ray job, node), and what only it knew would stay as well.
    """
    runs = RUNS if labels.startswith(RUNS) else RUN
    starts = f"max_over_time({selector('run_start_timestamp_seconds', runs)}[$__range])"
    newest = f"{starts} == on (run) group_left () max by (run) ({starts})"
    return f"last_over_time({selector(metric, labels)}[$__range]) and on (run, start) ({newest})"


def rate(metric: str, labels: str = RUN, window: str = WINDOW) -> str:
    """Growth per second of a counter; of single numbers over `LATELY`."""
    return f"rate({selector(metric, labels)}[{window}])"


def events(metric: str, window: str, labels: str = RUN) -> str:
    """How often a counter that grows by 1 did, exactly, whatever restarts set it back to 0."""
    over = f"{selector(metric, labels)}[{window}]"
    return f"changes({over}) - resets({over})"


def mean(histogram: str, labels: str, by: str, window: str = WINDOW) -> str:
    """Mean of what a histogram observed within the window."""
    over, count = (rate(f"{histogram}_{part}", labels, window) for part in ("sum", "count"))
    return f"sum by ({by}) ({over}) / sum by ({by}) ({count})"


def quantile(share: float, histogram: str, labels: str, by: str = "") -> str:
    """A quantile of what a histogram observed lately."""
    buckets = ", ".join(name for name in (by, "le") if name)
    counts = rate(f"{histogram}_bucket", labels)
    return f"histogram_quantile({share}, sum by ({buckets}) ({counts}))"


def phase_share(phases: str, labels: str = RUN) -> str:
    """Share of the ranks' time that went into `phases` (a regular expression), a single number."""
    some = rate("phase_seconds_total", where(labels, phase=f"~{phases}"), LATELY)
    return f"sum({some}) / sum({rate('phase_seconds_total', labels, LATELY)})"
