"""Which view of a run's progress fits where it is shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol, TextIO

from rich.console import Console

from dist_erase.observability.console import RichProgress
from dist_erase.observability.facts import Facts
from dist_erase.observability.lines import PlainProgress
from dist_erase.observability.rows import Row
from dist_erase.observability.state import RunState

_MIN_COLUMNS = 60


class Progress(Protocol):
    """A view of a run, fed with the rows of its metrics.jsonl and with what metrics say."""

    def start(self) -> None:
        """Shows the view."""

    def past(self, rows: Iterable[Row]) -> None:
        """Takes the rows of before it began: state, not news."""

    def row(self, row: Row) -> None:
        """Takes the next row."""

    def look(self, facts: Facts) -> None:
        """Takes what metrics say now."""

    def silence(self, text: str | None) -> None:
        """Takes since when the run does not answer, in words; None = it does."""

    def end(self, exit_code: int | None, message: str) -> None:
        """Takes how it ended, before `close`; None = the watching ends, not the run."""

    def close(self) -> None:
        """Leaves the last state on the screen."""

    @property
    def unread(self) -> bool:
        """Whether nobody reads what it writes any more."""


def make_progress(
    console: Literal["auto", "rich", "plain"], stream: TextIO, state: RunState
) -> Progress:
    """The view that fits.

    Args:
        console: `auto` is rich on a terminal of at least 60 columns, else plain.
        stream: where to show it; standard error, so that results own standard output.
        state: of the run; the view feeds it.
    """
    screen = Console(file=stream)
    if console == "auto":
        # Not Console.is_terminal: FORCE_COLOR, which CI sets, makes it true of a pipe.
        fits = stream.isatty() and not screen.is_dumb_terminal and screen.width >= _MIN_COLUMNS
        console = "rich" if fits else "plain"
    return RichProgress(screen, state) if console == "rich" else PlainProgress(stream, state)
