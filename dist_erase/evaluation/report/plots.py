"""The report's plots as SVG text to stand inside a page: no files, no scripts, no fonts."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure as Canvas
from torch import Tensor

from dist_erase.evaluation.intervals import wilson
from dist_erase.evaluation.report.figures import Figure, set_title

# Okabe and Ito's colours, told apart with every kind of colour vision; shape or dash differs too.
BEFORE, AFTER = "#6b7280", "#0072b2"
FORGET, RETAIN = "#d55e00", "#0072b2"
_INK, _GRID = "#1f2937", "#e5e7eb"
_STYLE = {
    "svg.fonttype": "none",  # the page's own font, and text that can be read aloud
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": _INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
}


def accuracy_plot(accuracies: Sequence[Figure], chance: float | None) -> str:
    """Each set's accuracy before (hollow) and after (filled), with 95% intervals."""
    with matplotlib.rc_context(_STYLE):
        canvas = Canvas(figsize=(8.6, 0.9 + 0.62 * len(accuracies)), layout="constrained")
        axes = canvas.subplots()
        for row, figure in enumerate(accuracies):
            for name, value, colour, y in (
                ("before", figure.before, BEFORE, row - 0.15),
                ("after", figure.after, AFTER, row + 0.15),
            ):
                if value is None:
                    continue
                ends = [100 * end for end in wilson(value, figure.n)]
                axes.plot(ends, [y, y], color=colour, linewidth=2)
                axes.plot(
                    [100 * value],
                    [y],
                    "o",
                    markersize=8,
                    markeredgewidth=2,
                    markeredgecolor=colour,
                    markerfacecolor=colour if name == "after" else "white",
                    label=name if row == 0 else None,
                )
            axes.text(104, row, f"{figure.before_text} → {figure.after_text}", va="center")
        if chance is not None:
            axes.axvline(100 * chance, color=_INK, linestyle=":", label="chance")
        names = [set_title(figure.set_name) for figure in accuracies]
        # Users name sets, so a $ in a name is no maths.
        axes.set_yticks(range(len(names)), names, parse_math=False)
        axes.set_ylim(len(accuracies) - 0.5, -0.5)
        axes.set_xlim(-2, 102)
        axes.set_xlabel(f"{accuracies[0].title}, %")
        axes.grid(axis="y", visible=False)
        canvas.legend(loc="outside upper left", ncols=3)
        return _svg(canvas, accuracies[0].key)


def histogram_plot(before: Tensor, after: Tensor, floor: float | None) -> str:
    """How alike the two halves of forget pairs are, before and after, with the floor."""
    with matplotlib.rc_context(_STYLE):
        canvas = Canvas(figsize=(8.6, 3.1), layout="constrained")
        axes = canvas.subplots()
        values = [x.numpy()[np.isfinite(x.numpy())] for x in (before, after)]
        spread = [*np.concatenate(values), *([] if floor is None else [floor]), 0.0]
        bins = np.linspace(min(spread) - 0.02, max(spread) + 0.02, 41).tolist()
        axes.hist(values[0], bins, color=BEFORE, alpha=0.45, label="before")
        axes.hist(values[1], bins, color=AFTER, alpha=0.45, label="after")
        axes.hist(values[1], bins, color=AFTER, histtype="step", linewidth=1.5)
        if floor is not None:
            label = f"floor {floor:.3f}"
            axes.axvline(floor, color=_INK, linestyle="--", linewidth=1.5, label=label)
        axes.set_xlabel("Cosine of image and own caption")
        axes.set_ylabel("Forget pairs")
        axes.grid(axis="x", visible=False)
        canvas.legend(loc="outside upper left", ncols=3)
        return _svg(canvas, "histogram")


def loss_plot(curves: Sequence[dict[str, Any]]) -> str | None:
    """Each loss term, unweighted, over the steps, on an axis of its own; None without any."""
    terms = {name for row in curves for name in row.get("loss", {})}
    ordered = sorted(terms, key=lambda name: (name == "total", name))
    if not ordered:
        return None
    columns = min(3, len(ordered))
    rows = math.ceil(len(ordered) / columns)
    with matplotlib.rc_context(_STYLE):
        canvas = Canvas(figsize=(8.6, 2.2 * rows), layout="constrained")
        grid = canvas.subplots(rows, columns, squeeze=False).flatten()
        for axes, name in zip(grid, ordered, strict=False):
            steps, values = _series(curves, "loss", name)
            axes.plot(steps, values, color=AFTER, linewidth=1.5)
            axes.set_ylim(*_span(values))
            axes.set_title(name)
            axes.set_xlabel("Step")
        for axes in grid[len(ordered) :]:
            axes.set_visible(False)
        return _svg(canvas, "loss")


def similarity_plot(curves: Sequence[dict[str, Any]], floor: float | None) -> str | None:
    """Mean matched similarity in the training batches over the steps; None without any."""
    if not any(row.get("similarity") for row in curves):
        return None
    with matplotlib.rc_context(_STYLE):
        canvas = Canvas(figsize=(8.6, 2.6), layout="constrained")
        axes = canvas.subplots()
        for name, colour, dash in (("forget", FORGET, "-"), ("retain", RETAIN, "-.")):
            series = _series(curves, "similarity", name)
            axes.plot(*series, color=colour, linestyle=dash, linewidth=1.8, label=name)
        if floor is not None:
            axes.axhline(floor, color=_INK, linestyle="--", linewidth=1.2, label="floor")
        axes.set_xlabel("Step")
        axes.set_ylabel("Matched similarity")
        canvas.legend(loc="outside upper left", ncols=3)
        return _svg(canvas, "similarity")


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Limits that hold zero, so that noise does not look like change."""
    finite = [value for value in values if math.isfinite(value)] or [1.0]
    low, high = min(0.0, *finite), max(0.0, *finite)
    return 1.05 * low, 1.05 * high or 1.0


def _series(
    curves: Sequence[dict[str, Any]], group: str, name: str
) -> tuple[list[int], list[float]]:
    """Steps and values; of a step that was repeated after a restart, the last row counts."""
    values = {
        int(row["step"]): float(row[group][name])
        for row in curves
        if row.get(group, {}).get(name) is not None
    }
    steps = sorted(values)
    return steps, [values[step] for step in steps]


def _svg(canvas: Canvas, salt: str) -> str:
    out = io.StringIO()
    # The salt makes the ids that are referred to repeatable, and different between plots.
    with matplotlib.rc_context({"svg.hashsalt": salt}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        canvas.savefig(out, format="svg", transparent=True, metadata=nothing)
    text = out.getvalue()
    # All other ids (axes_1, ...) would stand in the page once for every plot.
    return re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text[text.index("<svg") :])
