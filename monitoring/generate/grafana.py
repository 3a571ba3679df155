"""Boards → Grafana's classic dashboard JSON, by Grafana's own SDK."""

from __future__ import annotations

import json
import warnings
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    GridPos,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from monitoring.generate.grafana_panels import DATASOURCE, panel
from monitoring.generate.promql import RUN, selector
from monitoring.generate.records import COLUMNS, Annotation, Board, Row

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders import dashboard as sdk

TAG = "dist-erase"
_RAY = (
    ("Ray Train", "rayTrainDashboard"),
    ("Ray cluster", "rayDefaultDashboard"),
)
_STARTED = "heartbeat_timestamp_seconds"  # every process sets it, from its first second


def to_json(board: Board) -> str:
    """The dashboard as a file."""
    built = dashboard(board).build()
    return json.dumps(built, cls=JSONEncoder, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def dashboard(board: Board) -> sdk.Dashboard:
    """The dashboard as the SDK's builder."""
    built = (
        sdk.Dashboard(board.title)
        .uid(board.uid)
        .description(board.about)
        .tags([TAG])
        .timezone("browser")
        .editable()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("10s")
        .variables(_variables(board))
        .annotations([_mark(annotation) for annotation in board.annotations])
        .links(_links())
    )
    identity, y = 1, 0
    for row in board.rows:
        heading = sdk.Row(row.title).id(identity).collapsed(row.collapsed)
        heading.grid_pos(GridPos(h=1, w=COLUMNS, x=0, y=y))
        y += 1
        places = _places(row, y)
        panels = [
            panel(record).id(identity + 1 + index).grid_pos(place)
            for index, (record, place) in enumerate(zip(row.panels, places, strict=True))
        ]
        identity += 1 + len(panels)
        if row.collapsed:  # its panels lie inside it
            for one in panels:
                heading.with_panel(one)
        built.with_row(heading)
        if not row.collapsed:
            for one in panels:
                built.with_panel(one)
            y = max(place.y + place.h for place in places)
    return built


def _places(row: Row, y: int) -> list[GridPos]:
    """Left to right, a new line where the next panel does not fit."""
    places: list[GridPos] = []
    x = 0
    for record in row.panels:
        if x + record.width > COLUMNS:
            x, y = 0, max(place.y + place.h for place in places)
        places.append(GridPos(h=record.height, w=record.width, x=x, y=y))
        x += record.width
    return places


def _variables(board: Board) -> list[Any]:
    source = sdk.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    run = _variable("run", "Run", f"label_values(dist_erase_{_STARTED}, run)")
    run = run.multi(board.many_runs).include_all(board.many_runs)
    if board.many_runs:
        return [source, run.all_value(".+").current(_everything())]
    choices = [
        _variable(name, name.capitalize(), f"label_values({selector(_STARTED, RUN)}, {name})")
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(_everything())
        for name in ("rank", "node")
    ]
    return [source, run, *choices]


def _everything() -> VariableOption:
    return VariableOption(selected=True, text=["All"], value=["$__all"])


def _variable(name: str, label: str, query: str) -> sdk.QueryVariable:
    return (
        sdk.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(query)
        .definition(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
    )


def _mark(annotation: Annotation) -> sdk.AnnotationQuery:
    return (
        sdk.AnnotationQuery()
        .name(annotation.name)
        .datasource(DATASOURCE)
        .enable(True)
        .hide(False)
        .icon_color(annotation.colour)
        .expr(annotation.expr)
        .title_format(annotation.title)
        .step("15s")
    )


def _links() -> list[Any]:
    ours = (
        sdk.DashboardLink("dist-erase")
        .type(DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(False)
        .include_vars(True)
        .keep_time(True)
    )
    rays = [
        sdk.DashboardLink(title)
        .type(DashboardLinkType.LINK)
        .url(f"/d/{uid}")
        .icon("external link")
        .tooltip("Ray's own dashboard; there if it was imported too")
        .keep_time(True)
        .target_blank(True)
        for title, uid in _RAY
    ]
    return [ours, *rays]
