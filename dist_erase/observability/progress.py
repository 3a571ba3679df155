"""Which view of a run's progress, and how it gets its rows."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Literal, Protocol, TextIO

from rich.console import Console

from dist_erase.observability.console import RichProgress
from dist_erase.observability.lines import PlainProgress
from dist_erase.observability.rows import Row

_MIN_COLUMNS = 60
_POLL_SECONDS = 0.2


class Progress(Protocol):
    """A view of a run, fed with the rows of its metrics.jsonl."""

    def start(self) -> None:
        """Shows the view."""

    def row(self, row: Row) -> None:
        """Takes the next row."""

    def close(self) -> None:
        """Leaves the last state on the screen."""


def make_progress(
    console: Literal["auto", "rich", "plain"], stream: TextIO, *, run: str
) -> Progress:
    """The view that fits.

    Args:
        console: `auto` is rich on a UTF-8 terminal of at least 60 columns, else plain.
        stream: where to show it; standard error, so that results own standard output.
        run: name of the run.
    """
    screen = Console(file=stream)
    if console == "auto":
        # Not Console.is_terminal: FORCE_COLOR, which CI sets, makes it true of a pipe.
        fits = (
            stream.isatty()
            and not screen.is_dumb_terminal
            and screen.width >= _MIN_COLUMNS
            and screen.encoding.startswith("utf")
        )
        console = "rich" if fits else "plain"
    return RichProgress(screen, run=run) if console == "rich" else PlainProgress(stream, run=run)


def follow(path: Path, progress: Progress, stop: threading.Event, *, start: int = 0) -> None:
    """Hands each row appended to `path` to `progress` until `stop`, then what is left of them.

    Made for a thread of its own. The file may appear later, end in half a line (which waits for
    its rest), shrink (it is then read anew) or hold the broken line of a killed process (which
    is left out).

    Args:
        path: a run's metrics.jsonl.
        progress: is started and closed by the caller.
        stop: ends it.
        start: byte to begin at; the size of the file skips what an earlier attempt wrote.
    """
    position, rest = start, b""
    while True:
        stopping = stop.is_set()
        try:
            with path.open("rb") as file:
                if path.stat().st_size < position:
                    position, rest = 0, b""
                file.seek(position)
                new = file.read()
        except FileNotFoundError:
            new = b""
        position += len(new)
        *lines, rest = (rest + new).split(b"\n")
        for line in lines:
            row = _parse(line)
            if row is not None:
                progress.row(row)
        if stopping:
            return
        stop.wait(_POLL_SECONDS)


def _parse(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
