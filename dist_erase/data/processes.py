"""Processes that decode or scan beside the one that asks, also inside a Ray worker."""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any


@contextmanager
def main_hidden() -> Iterator[None]:
    """Keeps new processes from running __main__ again: under Ray it is Ray's worker script."""
    main = sys.modules["__main__"]
    saved = {name: getattr(main, name, None) for name in ("__file__", "__spec__")}
    try:
        for name in saved:
            setattr(main, name, None)
        yield
    finally:
        for name, value in saved.items():
            setattr(main, name, value)


def forkserver(preload: str) -> Any:
    """A context whose processes start from a server that has imported `preload`, and no ray.

    Forking a rank or a Ray worker instead would copy its threads' locks. SIGTERM reaches neither
    the server nor, unless they unblock it, its processes: end them with SIGKILL.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    # Launchers send SIGTERM to whole process trees, and a rank needs its workers until it has
    # written a checkpoint. What a thread blocks, the processes that it starts block for ever;
    # here it is only put off.
    multiprocessing.resource_tracker.ensure_running()  # starting it later would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def begin_child() -> None:
    """What a process from the fork server does first.

    What it has from there stays in memory that all its children share: the garbage collector would
    look at it again and again, and write into every page of it. And it ends when the process that
    started it does, however that ends.
    """
    gc.freeze()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # The parent's process id says nothing: under forkserver that is the server, which lives as
    # long as any of its children does.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    # The executor ends the others with SIGTERM when one was killed.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    begin_child()


@contextmanager
def process_pool(workers: int, preload: str) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes; functions given to it must be importable.

    An exception inside ends them in the middle of what they do.
    """
    before = set(multiprocessing.active_children())
    with (
        main_hidden(),
        ProcessPoolExecutor(
            max_workers=workers, mp_context=forkserver(preload), initializer=_begin_worker
        ) as pool,
    ):
        try:
            yield pool
        except BaseException:
            # Not shutdown(cancel_futures=True): its thread prints a traceback where it finds
            # that a process is gone, as after Ctrl-C, and a cancelled task beside it.
            for process in set(multiprocessing.active_children()) - before:
                process.kill()
            raise
