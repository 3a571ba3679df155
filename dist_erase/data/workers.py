"""A function over many tasks in several processes: answers in order, few in flight."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from dist_erase.errors import UserError

Task = TypeVar("Task")
Answer = TypeVar("Answer")

_AHEAD = 2  # tasks in flight for each process: none waits, and answers do not pile up


def ordered_map(
    function: Callable[[Task], Answer], tasks: Iterable[Task], *, workers: int
) -> Iterator[Answer]:
    """Yields `function(task)` in the order of the tasks.

    Args:
        function: of a module, so that it can be sent to other processes.
        tasks: taken as they are needed.
        workers: processes; 0 = none, everything happens here.

    Raises:
        UserError: a process died, or whatever `function` raises.
    """
    if workers == 0:
        yield from map(function, tasks)
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dist_erase.data.sample"])
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker)
    try:
        pending: deque[Future[Answer]] = deque()
        for task in tasks:
            pending.append(executor.submit(function, task))
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
    finally:
        executor.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    """Ctrl-C is the parent's business; a parent killed outright takes its workers along."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
