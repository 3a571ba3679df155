"""What a dashboard says, as data: rows of panels with their queries, free of Grafana's SDK.

Queries may use Grafana's variables: $run, $rank, $node, $__rate_interval, $__range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["stat", "gauge", "bars", "lines", "heatmap", "states", "table"]
# Grafana's names. percentunit: 0 to 1 is shown as 0 to 100 %.
Unit = Literal["", "none", "percentunit", "s", "bytes", "Bps", "ops", "short", "celsius", "watt"]

COLUMNS = 24


@dataclass(frozen=True, kw_only=True)
class Query:
    """One PromQL query.

    Attributes:
        expr: the query.
        legend: name of its series, with {{label}}; in a table the heading of its column.
        may_be_empty: why a healthy run may have no answer to it; "" = every run must answer.
        dashed: drawn as a dashed line: a goal or a limit, not a measurement.
        unit: of this query alone; None = the panel's.
    """

    expr: str
    legend: str = ""
    may_be_empty: str = ""
    dashed: bool = False
    unit: Unit | None = None


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel.

    Attributes:
        title: what is shown, unique on its board.
        about: what it shows and what would be bad, in plain words.
        kind: how it is drawn.
        queries: at least one.
        width: of 24 columns; `height` in Grafana's units of 38 px.
        steps: (from this value, colour) in rising order; below the first it is `base`.
        limit_line: draws the steps of a graph as dashed lines.
        stacked: lines are stacked areas.
        states: (value, text, colour) for the kind `states` and for stats.
        labels: a table's columns that come from labels.
    """

    title: str
    about: str
    kind: Kind
    queries: tuple[Query, ...]
    unit: Unit = ""
    width: int = 8
    height: int = 7
    decimals: int | None = None
    low: float | None = None
    high: float | None = None
    base: str = "green"
    steps: tuple[tuple[float, str], ...] = ()
    limit_line: bool = False
    stacked: bool = False
    log_scale: bool = False
    states: tuple[tuple[float, str, str], ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """Panels under a heading; a collapsed row asks nothing until it is opened."""

    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = False


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """Marks on all graphs of a board.

    Attributes:
        expr: a positive value marks its time.
    """

    name: str
    expr: str
    colour: str
    title: str
    may_be_empty: str = ""


@dataclass(frozen=True, kw_only=True)
class Board:
    """One dashboard; `many_runs` lets its run variable hold several."""

    uid: str
    title: str
    about: str
    rows: tuple[Row, ...]
    annotations: tuple[Annotation, ...] = ()
    many_runs: bool = False

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All of them, in the order of reading."""
        return tuple(panel for row in self.rows for panel in row.panels)
