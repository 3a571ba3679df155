"""One panel of a dashboard, drawn with matplotlib: graphs, numbers, heatmaps, states, tables."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from monitoring.drawing.lines import draw_lines
from monitoring.drawing.reading import (
    COLOURS,
    Answers,
    colour_at,
    defaults_of,
    named,
    shown,
    state_of,
    text_of,
    thousand,
)
from monitoring.drawing.table import Box, draw_table

Marks = list[tuple[str, list[float]]]


def draw_panel(
    figure: Figure,
    box: Box,
    size: tuple[int, int],
    panel: dict[str, Any],
    answers: Answers,
    span: dict[str, Any],
    marks: Marks,
) -> None:
    """Draws the panel's content into `box` (shares of a figure of `size` pixels)."""
    kind = panel["type"]
    if not any(answers):
        x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
        figure.text(x, y, "No data", ha="center", va="center", color="#999", size=9)
    elif kind in ("stat", "gauge"):
        _number(figure, box, panel, answers)
    elif kind == "table":
        draw_table(figure, box, size, panel, answers)
    else:
        legend = 30 if kind in ("timeseries", "state-timeline") else 4
        left, right = (90 if kind == "bargauge" else 46) / size[0], 10 / size[0]
        below = (22 + legend) / size[1]
        inner = (box[0] + left, box[1] + below, box[2] - left - right, box[3] - below)
        axes = figure.add_axes(inner)
        _GRAPHS[kind](axes, panel, answers, span)
        _dress(axes, panel, kind, span, marks)


def _number(figure: Figure, box: Box, panel: dict[str, Any], answers: Answers) -> None:
    series = named(panel, answers)
    for index, (name, one, _) in enumerate(series):
        value = float(one["value"][1])
        x = box[0] + box[2] * (index + 0.5) / len(series)
        y = box[1] + box[3] * 0.55
        state = state_of(panel, value)
        colour = colour_at(panel, value) if state is None else COLOURS[state["color"]]
        text = text_of(panel, value) if state is None else state["text"]
        figure.text(x, y, text, size=17, weight="bold", color=colour, ha="center", va="center")
        if len(series) > 1:
            figure.text(x, box[1] + box[3] * 0.2, name, ha="center", color="#555")
        if panel["type"] == "gauge":
            _bar(
                figure,
                (x - 0.4 * box[2], box[1] + 0.14 * box[3], 0.8 * box[2], 0.1 * box[3]),
                value,
                colour,
            )


def _bar(figure: Figure, box: Box, share: float, colour: str) -> None:
    left, low, wide, high = box
    figure.add_artist(Rectangle((left, low), wide, high, facecolor="#e7e8ea", lw=0))
    filled = wide * min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
    figure.add_artist(Rectangle((left, low), filled, high, facecolor=colour, lw=0))


def _heatmap(axes: Axes, panel: dict[str, Any], answers: Answers, span: dict[str, Any]) -> None:
    rows = sorted(answers[0], key=lambda one: float(one["metric"]["le"]))
    times = sorted({at for one in rows for at, _ in one["values"]})
    counts = [{at: float(text) for at, text in one["values"]} for one in rows]
    cells = [
        [max(0.0, row.get(at, 0) - (counts[i - 1].get(at, 0) if i else 0)) for at in times]
        for i, row in enumerate(counts)
    ]
    used = [i for i, row in enumerate(cells) if any(row)]
    first, last = (used[0], used[-1] + 1) if used else (0, len(cells))
    minutes = [(at - span["start"]) / 60 for at in times]
    axes.pcolormesh(minutes, range(first, last), cells[first:last], cmap="Blues", shading="nearest")
    unit = defaults_of(panel).get("unit", "")
    axes.set_yticks(range(first, last))
    bounds = [float(one["metric"]["le"]) for one in rows[first:last]]
    axes.set_yticklabels([f"≤ {shown(bound, unit, None)}" for bound in bounds], size=5.5)


def _states(axes: Axes, panel: dict[str, Any], answers: Answers, span: dict[str, Any]) -> None:
    (mapping,) = defaults_of(panel)["mappings"]
    series = named(panel, answers)
    for row, (_, one, _) in enumerate(series):
        for at, text in one["values"]:
            state = mapping["options"][f"{float(text):g}"]
            left = (at - span["start"]) / 60
            axes.barh(row, 1.05 / 60, left=left, height=0.6, color=COLOURS[state["color"]])
    axes.set_yticks(range(len(series)))
    axes.set_yticklabels([name for name, _, _ in series], size=6)
    axes.set_ylim(-0.7, len(series) - 0.3)
    states = mapping["options"].values()
    axes.legend(
        [Rectangle((0, 0), 1, 1, facecolor=COLOURS[state["color"]]) for state in states],
        [state["text"] for state in states],
        loc="lower left",
        bbox_to_anchor=(-0.08, -44 / axes.get_window_extent().height),
        ncols=len(states),
        frameon=False,
        fontsize=6,
        handlelength=1.1,
        borderpad=0,
    )


def _bars(axes: Axes, panel: dict[str, Any], answers: Answers, span: dict[str, Any]) -> None:
    series = named(panel, answers)
    for row, (_, one, _) in enumerate(reversed(series)):
        value = float(one["value"][1])
        axes.barh(row, value, height=0.55, color=colour_at(panel, value))
        axes.text(value, row, f" {text_of(panel, value)}", va="center", size=8)
    axes.set_yticks(range(len(series)))
    axes.set_yticklabels([name for name, _, _ in reversed(series)], size=7)
    axes.set_ylim(-0.6, len(series) - 0.4)
    high = defaults_of(panel).get("max")
    axes.set_xlim(0, (high or axes.get_xlim()[1]) * 1.15)


def _dress(
    axes: Axes, panel: dict[str, Any], kind: str, span: dict[str, Any], marks: Marks
) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=2, labelsize=6, pad=2)
    if kind == "bargauge":
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        return
    axes.set_xlim(0, (span["end"] - span["start"]) / 60)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    for colour, times in marks:
        for at in times:
            minute = (at - span["start"]) / 60
            axes.axvline(minute, color=COLOURS[colour], lw=0.6, alpha=0.55, zorder=0)
    if kind != "timeseries":
        return
    axes.grid(axis="y", color="#e7e8ea", lw=0.6)
    given = defaults_of(panel)
    if "min" in given and axes.get_yscale() == "linear":
        axes.set_ylim(bottom=given["min"])
    if "max" in given:
        axes.set_ylim(top=given["max"] * 1.02)
    if axes.get_yscale() == "linear":
        _scale(axes, given)


def _scale(axes: Axes, given: dict[str, Any]) -> None:
    """Room above the highest line, and round numbers at the ticks."""
    low, high = axes.get_ylim()
    if "max" not in given:
        all_zero = axes.dataLim.ymin == 0 == axes.dataLim.ymax
        low, high = (0.0, 1.0) if all_zero else (low, high + 0.05 * (high - low))
        axes.set_ylim(low, high)
    unit = given.get("unit", "")
    step = thousand(high) if unit in ("bytes", "Bps") else 1
    ticks = [step * tick for tick in MaxNLocator(5).tick_values(low / step, high / step)]
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    decimals = 0 if unit == "percentunit" else None
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: shown(y, unit, decimals)))


_GRAPHS = {
    "timeseries": draw_lines,
    "heatmap": _heatmap,
    "state-timeline": _states,
    "bargauge": _bars,
}
