"""Draws the dashboards from Prometheus' answers, for the documentation: honest, but not Grafana.

    python -m monitoring.render_dashboards ANSWERS OUT

ANSWERS is what `pytest tests/integration/test_integration_dashboards.py --answers ANSWERS` keeps:
the answers of a real Prometheus to the committed dashboards' queries. Titles, places, units,
thresholds and legends come from the dashboards' JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from monitoring.drawing.panel import draw_panel

DASHBOARDS = Path(__file__).parent / "grafana/dashboards"
COLUMN, UNIT, GAP, HEAD = 58, 30, 6, 64  # pixels
COLOURS = 255  # of the PNG's palette: keeps it below 200 kB
_DPI = 100
ROW_STATES = {  # sign before the heading, words behind it
    "open": ("▾", ""),
    "opened": ("▾", " (closed until you open it)"),
    "closed": ("▸", " (closed, nothing to show here)"),
}


def main(answers: str, out: str) -> None:
    """Writes OUT/dashboard-NAME.png for each dashboard."""
    plt.rcParams.update({"font.size": 7, "font.family": "DejaVu Sans"})
    boards = json.loads(Path(answers).read_text(encoding="utf-8"))
    Path(out).mkdir(parents=True, exist_ok=True)
    for name, answered in boards.items():
        dashboard = json.loads((DASHBOARDS / f"{name}.json").read_text(encoding="utf-8"))
        path = Path(out) / f"dashboard-{name}.png"
        draw(dashboard, answered).savefig(path, dpi=_DPI, facecolor="#f4f5f5")
        plt.close("all")
        Image.open(path).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def draw(dashboard: dict[str, Any], answered: dict[str, Any]) -> Figure:
    """One dashboard as a figure."""
    panels = opened(dashboard["panels"], answered["panels"])
    bottom = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in panels)
    width, height = 24 * COLUMN + GAP, HEAD + bottom * UNIT + GAP
    figure: Figure = plt.figure(figsize=(width / _DPI, height / _DPI))

    def box(place: dict[str, int]) -> tuple[float, float, float, float]:
        """(left, bottom, width, height) of a panel, as shares of the figure."""
        left, top = place["x"] * COLUMN + GAP, HEAD + place["y"] * UNIT
        wide, high = place["w"] * COLUMN - GAP, place["h"] * UNIT - GAP
        return left / width, 1 - (top + high) / height, wide / width, high / height

    _heading(figure, dashboard, answered, height)
    marks = [
        (mark["iconColor"], answered["marks"][mark["name"]])
        for mark in dashboard["annotations"].get("list", [])
    ]
    for panel in panels:
        left, low, wide, high = box(panel["gridPos"])
        if panel["type"] == "row":
            sign, note = ROW_STATES[panel["state"]]
            text = f"{sign} {panel['title']}{note}"
            figure.text(left, low + high / 2, text, weight="bold", size=9, va="center")
            continue
        frame = Rectangle((left, low), wide, high, facecolor="white", edgecolor="#d5d7d9", lw=0.8)
        frame.set_zorder(-1)  # below the graphs
        figure.add_artist(frame)
        pad = 6 / width
        top = low + high - 6 / height
        size = 7 if len(panel["title"]) * 6 < wide * width else 6
        figure.text(left + pad, top, panel["title"], size=size, weight="bold", va="top")
        inner = (left, low, wide, high - 18 / height)
        whole = (width, height)
        draw_panel(
            figure, inner, whole, panel, answered["panels"][str(panel["id"])], answered, marks
        )
    return figure


def opened(panels: list[dict[str, Any]], answers: dict[str, Any]) -> list[dict[str, Any]]:
    """The panels with collapsed rows opened, where there is anything to show, and moved down."""
    placed: list[dict[str, Any]] = []
    down = 0
    for panel in panels:
        place = panel["gridPos"]
        row = panel["type"] == "row"
        inside = panel.get("panels") or [] if row else []
        filled = any(any(answers[str(one["id"])]) for one in inside)
        state = ("opened" if filled else "closed") if row and panel["collapsed"] else "open"
        placed.append(panel | {"gridPos": place | {"y": place["y"] + down}, "state": state})
        if state == "opened":
            moved = [(one, one["gridPos"]) for one in inside]
            placed += [one | {"gridPos": at | {"y": at["y"] + down}} for one, at in moved]
            down += max(at["y"] + at["h"] for _, at in moved) - place["y"] - 1
    return placed


def _heading(
    figure: Figure, dashboard: dict[str, Any], answered: dict[str, Any], height: int
) -> None:
    left = GAP / (24 * COLUMN + GAP)
    figure.text(left, 1 - 8 / height, dashboard["title"], size=13, weight="bold", va="top")
    began = time.strftime("%H:%M:%S UTC", time.gmtime(answered["start"]))
    runs = answered["runs"].replace("|", ", ")
    line = (
        f"Not Grafana: drawn by monitoring/render_dashboards.py from a real Prometheus' answers "
        f"about a real run ({runs}). Axes: minutes since {began}; single numbers: two seconds "
        "after the last step."
    )
    figure.text(left, 1 - 36 / height, line, size=7.5, va="top", color="#9a3b00")
    legend = "   ".join(
        f"{mark['name'].lower()}: {mark['iconColor']} lines"
        for mark in dashboard["annotations"].get("list", [])
    )
    figure.text(1 - left, 1 - 12 / height, legend, size=7.5, va="top", ha="right", color="#555")


if __name__ == "__main__":
    main(*sys.argv[1:])
