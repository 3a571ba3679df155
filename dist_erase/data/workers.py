"""A function over many tasks in several processes: answers in order, few in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from dist_erase.data.processes import process_pool
from dist_erase.errors import UserError

Task = TypeVar("Task")
Answer = TypeVar("Answer")

_AHEAD = 2  # tasks in flight for each process: none waits, and answers do not pile up


def ordered_map(
    function: Callable[[Task], Answer],
    tasks: Iterable[Task],
    *,
    workers: int,
    preload: str = "dist_erase.data.sample",
) -> Iterator[Answer]:
    """Yields `function(task)` in the order of the tasks.

    Args:
        function: of a module, so that it can be sent to other processes.
        tasks: taken as they are needed.
        workers: processes; 0 = none, everything happens here.
        preload: the module that `function` is of, imported once for all processes.

    Raises:
        UserError: a process died, or whatever `function` raises.
    """
    if workers == 0:
        yield from map(function, tasks)
        return
    pending: deque[Future[Answer]] = deque()
    try:
        with process_pool(workers, preload) as pool:
            for task in tasks:
                pending.append(pool.submit(function, task))
                if len(pending) > _AHEAD * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise UserError(
            "--workers",
            f"one of {workers} worker processes was killed (out of memory?).",
            "Use fewer; what is finished is kept.",
        ) from error
