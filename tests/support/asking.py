"""What Grafana would ask Prometheus for a dashboard, asked.

Works on the dashboard's JSON, as Grafana does, with the variables replaced.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from support.prometheus import Prometheus

STEP_SECONDS = 1.0
_RATE_INTERVAL = "15s"  # Grafana's would be at least four scrape intervals


@dataclass(frozen=True)
class Span:
    """What is looked at: from `start` to `end`; single numbers are those at `now`."""

    start: float
    end: float
    now: float


def panels_of(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All panels that ask something, those of closed rows too."""
    for panel in dashboard["panels"]:
        yield from (inner for inner in [panel, *panel.get("panels", [])] if "targets" in inner)


def filled(expr: str, runs: str, span: Span) -> str:
    """The query with the dashboard's variables replaced; AssertionError if one is unknown."""
    values = {
        "run": runs,
        "rank": ".*",
        "node": ".*",
        "__rate_interval": _RATE_INTERVAL,
        "__range": f"{round(span.end - span.start)}s",
    }
    done = re.sub(r"\$(\w+)", lambda found: values[found[1]], expr)
    assert "$" not in done
    return done


def ask_panel(
    prometheus: Prometheus, panel: dict[str, Any], runs: str, span: Span
) -> list[list[dict[str, Any]]]:
    """The series of each of the panel's queries, as the API gives them."""
    answers = []
    for target in panel["targets"]:
        expr = filled(target["expr"], runs, span)
        if target.get("instant"):
            # Tables show how it ended, numbers how it stood while it trained.
            at = span.end if panel["type"] in ("table", "bargauge") else span.now
            answers.append(prometheus.instant(expr, at))
        else:
            answers.append(prometheus.over(expr, span.start, span.end, STEP_SECONDS))
    return answers


def ask_marks(prometheus: Prometheus, mark: dict[str, Any], runs: str, span: Span) -> list[float]:
    """The times of an annotation: where its value is positive.

    Of times that follow on each other the first: Grafana makes one mark of them.
    """
    series = prometheus.over(filled(mark["expr"], runs, span), span.start, span.end, STEP_SECONDS)
    points = [(time, float(text)) for one in series for time, text in one["values"]]
    positive = sorted(time for time, value in points if value > 0)
    before = [-math.inf, *positive]
    return [
        at for at, last in zip(positive, before, strict=False) if at - last > 1.5 * STEP_SECONDS
    ]


def ask_variable(
    prometheus: Prometheus, variable: dict[str, Any], runs: str, span: Span
) -> list[str]:
    """The choices of `label_values(SELECTOR, LABEL)`."""
    asked = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"])
    assert asked is not None, variable["query"]
    selector = filled(asked[1], runs, span)
    choices: list[str] = prometheus.get(
        f"label/{asked[2]}/values", **{"match[]": selector, "start": str(span.start)}
    )
    return choices
