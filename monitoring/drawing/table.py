"""Tables."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from monitoring.drawing.reading import Answers, defaults_of, shown

Box = tuple[float, float, float, float]


def draw_table(
    figure: Figure, box: Box, size: tuple[int, int], panel: dict[str, Any], answers: Answers
) -> None:
    """As the panel's transformations say: rows by labels, a column for each query."""
    (options,) = (t["options"] for t in panel["transformations"] if t["id"] == "organize")
    columns = sorted(options["indexByName"], key=options["indexByName"].get)
    rows: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    for target, answer in zip(panel["targets"], answers, strict=True):
        column = f"Value #{target['refId']}"
        unit, decimals = _column_format(panel, options["renameByName"].get(column, column))
        for series in answer:
            row = rows.setdefault(tuple(sorted(series["metric"].items())), dict(series["metric"]))
            row[column] = shown(float(series["value"][1]), unit, decimals)
    labels = [column for column in columns if not column.startswith("Value")]
    ordered = sorted(rows.values(), key=lambda row: [row.get(label, "") for label in labels])
    fits = int(box[3] * size[1] // 15) - 1
    edges = _column_edges(columns, ordered, options["renameByName"])
    lines: list[dict[str, str] | None] = [None, *ordered[:fits]]
    for place, line in enumerate(lines):
        y = box[1] + box[3] - (8 + 15 * place) / size[1]
        for column, edge in zip(columns, edges, strict=True):
            text = (
                options["renameByName"].get(column, column)
                if line is None
                else line.get(column, "")
            )
            x = box[0] + 8 / size[0] + edge * (box[2] - 12 / size[0])
            weight = "bold" if line is None else "normal"
            figure.text(x, y, text, size=6.5, va="top", weight=weight, color="#333")
    if len(ordered) > fits:
        y = box[1] + 2 / size[1]
        figure.text(
            box[0] + box[2], y, f"… {len(ordered) - fits} more rows below ", ha="right", size=6
        )


def _column_format(panel: dict[str, Any], name: str) -> tuple[str, float | None]:
    """Unit and decimals of one column."""
    given = dict(defaults_of(panel))
    for override in panel["fieldConfig"].get("overrides", []):
        if override["matcher"] == {"id": "byName", "options": name}:
            given |= {one["id"]: one["value"] for one in override["properties"]}
    return given.get("unit", ""), given.get("decimals")


def _column_edges(
    columns: list[str], rows: list[dict[str, str]], renamed: dict[str, str]
) -> list[float]:
    """Left edges as shares of the width, wider for longer texts."""
    widths = [
        max(len(renamed.get(column, column)), *(len(row.get(column, "")) for row in rows), 4) + 2
        for column in columns
    ]
    return [sum(widths[:index]) / sum(widths) for index in range(len(widths))]
