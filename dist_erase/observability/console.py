"""A live view of a run in a terminal."""

from __future__ import annotations

import itertools
import math
import sys
import threading
from collections import deque
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dist_erase.observability.bottleneck import bottleneck, shares
from dist_erase.observability.lines import event_line
from dist_erase.observability.rows import Recent, Row, clock, time_of_day

_BLOCKS = "▁▂▃▄▅▆▇█"
_EVENTS_SHOWN = 5
# A forget similarity this near to the floor counts as there.
_AT_FLOOR = 0.1


class Curve:
    """A series of any length in at most `limit` points, each the mean of equally many values."""

    def __init__(self, limit: int = 512) -> None:
        self._limit = limit
        self._points: list[float] = []
        self._open: list[float] = []
        self._values_per_point = 1

    def add(self, value: float) -> None:
        """Takes the next value."""
        self._open.append(value)
        if len(self._open) == self._values_per_point:
            self._points.append(_mean(self._open))
            self._open = []
        if len(self._points) == self._limit:
            self._points = [_mean(self._points[i : i + 2]) for i in range(0, self._limit, 2)]
            self._values_per_point *= 2

    def sparkline(self, width: int) -> str:
        """The whole series in `width` characters or fewer; `!` where it is not finite."""
        points = self._points + ([_mean(self._open)] if self._open else [])
        bins = min(width, len(points))
        edges = [round(i * len(points) / bins) for i in range(bins + 1)] if bins > 0 else [0]
        means = [_mean(points[a:b]) for a, b in itertools.pairwise(edges)]
        finite = [mean for mean in means if math.isfinite(mean)]
        low, span = (min(finite), max(finite) - min(finite)) if finite else (0.0, 0.0)
        top = len(_BLOCKS) - 1
        return "".join(
            _BLOCKS[round(top * (mean - low) / span) if span else 0] if math.isfinite(mean) else "!"
            for mean in means
        )


class RichProgress:
    """The run's state, redrawn four times a second; its last state stays on the screen."""

    def __init__(self, console: Console, *, run: str) -> None:
        self._console = console
        self._run = run
        self._recent = Recent()
        self._last: Row = {}
        self._curves: dict[str, Curve] = {}
        self._events: deque[Row] = deque(maxlen=_EVENTS_SHOWN)
        self._lock = threading.Lock()  # rows come from one thread, redrawing from another
        self._live = Live(
            console=console,
            get_renderable=self._render,
            redirect_stdout=sys.stdout.isatty(),  # results in a file or pipe stay there
        )

    def start(self) -> None:
        """Starts drawing."""
        self._live.start()

    def row(self, row: Row) -> None:
        """Takes a row of metrics.jsonl."""
        with self._lock:
            if "event" in row:
                self._events.append(row)
                return
            self._recent.add(row)
            self._last = row
            for term, value in row.get("loss", {}).items():
                self._curves.setdefault(term, Curve()).add(value)
            for stream, value in row.get("similarity", {}).items():
                self._curves.setdefault(f"cosine {stream}", Curve()).add(value)

    def close(self) -> None:
        """Draws the last state and gives the terminal back."""
        self._live.stop()

    def _render(self) -> RenderableType:
        with self._lock:
            width = self._console.width
            if not self._last:
                return Group(
                    _line(f"{self._run}: waiting for the first step"), *self._event_lines()
                )
            return Group(
                self._header(),
                self._figures(width),
                Text(self._speed(), style="dim"),
                Text(self._parts(), style="dim"),
                *self._verdict(),
                *self._event_lines(),
            )

    def _header(self) -> Table:
        step, steps = self._last["step"], self._last["steps"]
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(no_wrap=True, overflow="ellipsis", style="bold")
        table.add_column(no_wrap=True)
        table.add_column(ratio=1, min_width=5)
        table.add_column(no_wrap=True)
        table.add_row(
            self._run,
            f"step {step}/{steps}",
            ProgressBar(total=steps, completed=step),
            f"ETA {clock(self._recent.eta_seconds())}",
        )
        return table

    def _figures(self, width: int) -> Table:
        """Loss terms and similarities: name, last value, course over the whole run."""
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, justify="right", style="bold")
        table.add_column(no_wrap=True, style="cyan")
        room = max(0, min(60, width - 28))
        for name, value in self._last.get("loss", {}).items():
            table.add_row(name, f"{value:.4g}", self._curves[name].sparkline(room))
        floor = self._last.get("floor")
        for stream, value in self._last.get("similarity", {}).items():
            name = f"cosine {stream}"
            shown = Text(f"{value:.4f}")
            if stream == "forget" and floor is not None:
                shown.stylize("green" if abs(value - floor) <= _AT_FLOOR else "yellow")
            table.add_row(name, shown, self._curves[name].sparkline(room))
            if stream == "forget" and floor is not None:
                table.add_row("  its floor", f"{floor:.4f}", "")
        return table

    def _speed(self) -> str:
        last = self._last
        teacher = last.get("teacher", {})
        known = {
            "{:.0f} samples/s": last.get("samples_per_second"),
            "epoch {:.2f}": last.get("epoch"),
            "forget passes {:.1f}": last.get("forget_passes"),
            "lr {:.2g}": last.get("lr"),
            "gradient {:.3g}": last.get("grad_norm"),
            "teacher queue {}": teacher.get("in_flight"),
            "resubmitted {}": teacher.get("resubmitted") or None,
        }
        return " · ".join(form.format(v) for form, v in known.items() if v is not None)

    def _parts(self) -> str:
        rows = [row for row in self._recent.rows if row.get("seconds")]
        if not rows:
            return ""
        mean = _mean([row["seconds"].get("step", 0.0) for row in rows])
        parts = sorted(shares(rows).items(), key=lambda part: -part[1])
        named = ", ".join(
            f"{name.replace('_', ' ')} {100 * v:.0f} %" for name, v in parts if v >= 0.005
        )
        return f"step {mean:.3g} s: {named}"

    def _verdict(self) -> list[Text]:
        line = bottleneck(self._recent.rows)
        return [Text(line, style="yellow" if "would help" in line else "green")] if line else []

    def _event_lines(self) -> list[Text]:
        return [_line(f"{time_of_day(row)} {event_line(row)}") for row in self._events]


def _line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
