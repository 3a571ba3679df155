"""A live view of a run in a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.live import Live

from dist_erase.observability.facts import Facts
from dist_erase.observability.panel import Screen, panel
from dist_erase.observability.rows import Row
from dist_erase.observability.state import RunState


class RichProgress:
    """The run's state, redrawn four times a second; its last state stays on the screen."""

    def __init__(self, console: Console, state: RunState) -> None:
        self._console = console
        self._state = state
        self._lock = threading.Lock()  # rows come from one thread, redrawing from another
        self._closing = False
        self._live = Live(
            console=console,
            get_renderable=self._render,
            redirect_stdout=sys.stdout.isatty(),  # results in a file or pipe stay there
            vertical_overflow="crop",
        )

    def start(self) -> None:
        """Starts drawing."""
        self._live.start()

    def past(self, rows: Iterable[Row]) -> None:
        """Takes rows of before this view began."""
        with self._lock:
            for row in rows:
                self._state.row(row)

    def row(self, row: Row) -> None:
        """Takes a row of metrics.jsonl."""
        with self._lock:
            self._state.row(row)

    def look(self, facts: Facts) -> None:
        """Takes what metrics say now."""
        with self._lock:
            self._state.look(facts)

    def silence(self, text: str | None) -> None:
        """Says that the run does not answer; None = it does again."""
        with self._lock:
            self._state.silence = text

    def end(self, exit_code: int | None, message: str) -> None:
        """Takes how it ended."""
        with self._lock:
            self._state.silence = None
            self._state.end = message

    def close(self) -> None:
        """Draws the last state, whole, and gives the terminal back."""
        self._closing = True
        self._live.stop()
        if not self._console.is_terminal:
            self._console.line()

    @property
    def unread(self) -> bool:
        """Never: a terminal that goes ends the process."""
        return False

    def _render(self) -> RenderableType:
        size = self._console.size
        screen = Screen(
            width=size.width,
            height=None if self._closing else max(1, size.height - 1),
            ascii=not self._console.encoding.startswith("utf"),
        )
        with self._lock:
            return Group(*panel(self._state, screen))
