"""Graphs of lines and of stacked areas."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes

from monitoring.drawing.reading import COLOURS, Answers, defaults_of, named, overrides_of

_LINES = (
    *("#3274d9", "#e0752d", "#3d9a50", "#d5303e", "#8f5fc9"),
    *("#009aa6", "#b5851e", "#c15c9d", "#6b7a8f", "#7aa82c"),
)


def draw_lines(axes: Axes, panel: dict[str, Any], answers: Answers, span: dict[str, Any]) -> None:
    """The series over minutes, with the legend below."""
    custom = defaults_of(panel).get("custom", {})
    series = named(panel, answers)
    if custom.get("stacking", {}).get("mode") == "normal":
        _stacked(axes, series, span)
    else:
        for index, (name, one, letter) in enumerate(series):
            x, y = _gaps_kept(one["values"], span)
            dashed = "custom.lineStyle" in overrides_of(panel, letter)
            (line,) = axes.plot(x, y, color=_LINES[index % len(_LINES)], label=name)
            line.set_linestyle((0, (4, 3)) if dashed else "-")
            line.set_linewidth(1.1 if dashed else 1.4)
    if custom.get("scaleDistribution", {}).get("type") == "log":
        axes.set_yscale("log")
    if custom.get("thresholdsStyle", {}).get("mode") == "dashed":
        for step in defaults_of(panel)["thresholds"]["steps"]:
            if step.get("value") is not None:
                colour = COLOURS[step["color"]]
                axes.axhline(step["value"], color=colour, lw=0.8, ls=(0, (4, 3)))
    handles, labels = axes.get_legend_handles_labels()
    extent = axes.get_window_extent()
    below = -44 / extent.height
    fitting = int(extent.width // (22 + 4.3 * max(map(len, labels), default=1)))
    axes.legend(
        handles[:10],
        labels[:10],
        loc="lower left",
        bbox_to_anchor=(-38 / extent.width, below, 1 + 38 / extent.width, 0.05),
        ncols=max(1, min(len(labels), 5, fitting)),
        frameon=False,
        fontsize=6,
        handlelength=1.1,
        columnspacing=0.9,
        handletextpad=0.4,
        labelspacing=0.2,
        borderpad=0,
    )


def _gaps_kept(values: list[list[Any]], span: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Minutes since the start, and numbers; a gap where there is no answer."""
    x: list[float] = []
    y: list[float] = []
    for at, text in values:
        minute = (at - span["start"]) / 60
        if x and minute - x[-1] > 3 / 60:
            x.append(minute)
            y.append(math.nan)
        x.append(minute)
        number = float(text)
        y.append(number if math.isfinite(number) else math.nan)
    return x, y


def _stacked(
    axes: Axes, series: list[tuple[str, dict[str, Any], str]], span: dict[str, Any]
) -> None:
    times = sorted({at for _, one, _ in series for at, _ in one["values"]})
    layers = []
    for _, one, _ in series:
        known = {at: float(text) for at, text in one["values"]}
        layer = [known.get(at, 0.0) for at in times]
        layers.append([number if math.isfinite(number) else 0.0 for number in layer])
    minutes = [(at - span["start"]) / 60 for at in times]
    colours = [_LINES[index % len(_LINES)] for index in range(len(layers))]
    labels = [name for name, _, _ in series]
    axes.stackplot(minutes, layers, labels=labels, colors=colours, alpha=0.75, lw=0)
