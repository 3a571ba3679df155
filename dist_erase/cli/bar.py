"""Progress bars of commands, on stderr; nothing there when stderr is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Report = Callable[[int, int], None]  # done, planned


@contextmanager
def progress_bars() -> Iterator[Callable[[str], Report]]:
    """Gives what begins the bar of a task of this name."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bars:

        def begin(name: str) -> Report:
            task = bars.add_task(name, total=None)
            return lambda done, planned: bars.update(task, completed=done, total=planned)

        yield begin
