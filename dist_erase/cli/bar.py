"""Progress bars of commands, on stderr; nothing there when stderr is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Report = Callable[[int, int], None]  # done, planned


@contextmanager
def progress_bars(*, transient: bool = True) -> Iterator[Callable[[str], Report]]:
    """Gives what begins the bar of a task of this name; `transient` ones vanish at the end."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=transient,
        disable=not console.is_terminal,
    ) as bars:

        def begin(name: str) -> Report:
            task = bars.add_task(name, total=None)
            return lambda done, planned: bars.update(task, completed=done, total=planned)

        yield begin


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Gives what is told (what, done, planned); each `what` has a bar, which stays."""
    with progress_bars(transient=False) as begin:
        bars: dict[str, Report] = {}

        def report(what: str, done: int, planned: int) -> None:
            if what not in bars:
                bars[what] = begin(what)
            bars[what](done, planned)

        yield report
