"""What a panel's JSON says of its numbers, colours and legends."""

from __future__ import annotations

import math
import re
from typing import Any

Answers = list[list[dict[str, Any]]]

COLOURS = {
    "green": "#3d9a50",
    "yellow": "#c79500",
    "orange": "#e0752d",
    "red": "#d5303e",
    "blue": "#3274d9",
    "purple": "#8f5fc9",
    "text": "#333333",
}
_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")


def shown(value: float, unit: str, decimals: float | None) -> str:
    """A number as a person reads it, in Grafana's units."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if unit == "percentunit":
        return f"{100 * value:.{1 if decimals is None else int(decimals)}f} %"
    if unit == "s":
        if abs(value) < 1:
            return f"{1000 * value:.0f} ms"
        return f"{value:.{1 if decimals is None else 0}f} s" if value < 90 else _minutes(value)
    if unit in ("bytes", "Bps"):
        step = _thousands(value)
        text = f"{value / 1024**step:.3g} {_SIZES[step]}"
        return text + ("/s" if unit == "Bps" else "")
    if decimals is not None:
        return f"{value:.{int(decimals)}f}"
    return f"{value:.3g}"


def thousand(value: float) -> int:
    """The bytes of the largest unit (KiB, MiB, …) that is not above `value`."""
    return int(1024 ** _thousands(value))


def _thousands(value: float) -> int:
    return min(int(math.log(max(abs(value), 1), 1024)), len(_SIZES) - 1)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"


def defaults_of(panel: dict[str, Any]) -> dict[str, Any]:
    """What holds for all series of the panel."""
    found: dict[str, Any] = panel["fieldConfig"]["defaults"]
    return found


def text_of(panel: dict[str, Any], value: float) -> str:
    """A number in the panel's unit."""
    given = defaults_of(panel)
    return shown(value, given.get("unit", ""), given.get("decimals"))


def state_of(panel: dict[str, Any], value: float) -> dict[str, Any] | None:
    """The text and colour that stand for this value, if the panel names states."""
    for mapping in defaults_of(panel).get("mappings") or []:
        found: dict[str, Any] | None = mapping["options"].get(f"{value:g}")
        if found is not None:
            return found
    return None


def colour_at(panel: dict[str, Any], value: float) -> str:
    """By the panel's thresholds."""
    colour = "text"
    for step in defaults_of(panel)["thresholds"]["steps"]:
        if step.get("value") is None or value >= step["value"]:
            colour = step["color"]
    return COLOURS.get(colour, colour)


def _name(legend: str, labels: dict[str, str], panel: dict[str, Any]) -> str:
    if legend == "__auto":
        return ", ".join(labels.values()) or str(panel["title"])
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend)


def named(panel: dict[str, Any], answers: Answers) -> list[tuple[str, dict[str, Any], str]]:
    """(legend, series, query's letter) of every series."""
    return [
        (
            _name(target.get("legendFormat", "__auto"), series["metric"], panel),
            series,
            target["refId"],
        )
        for target, answer in zip(panel["targets"], answers, strict=True)
        for series in answer
    ]


def overrides_of(panel: dict[str, Any], letter: str) -> dict[str, Any]:
    """What holds for the series of one query alone."""
    return {
        one["id"]: one["value"]
        for override in panel["fieldConfig"].get("overrides", [])
        if override["matcher"] == {"id": "byFrameRefID", "options": letter}
        for one in override["properties"]
    }
