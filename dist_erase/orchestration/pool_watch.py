"""Says in metrics which teacher replicas work, while the driver waits for the trainer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dist_erase.observability.emit import Metrics

if TYPE_CHECKING:
    from dist_erase.teacher.pool import TeacherPool

_EVERY_SECONDS = 1.0
# For an answer past the queue, which a process that runs gives at once.
_LATE_SECONDS = 10.0


@contextmanager
def watched_pool(pool: TeacherPool, metrics: Metrics) -> Iterator[None]:
    """Inside, `teacher_replica_up` and `teacher_replica_restarts_total` follow the pool."""
    stop = threading.Event()
    counted = [0] * len(pool.handles)

    def look() -> None:
        for index, up in enumerate(pool.replicas_up(_LATE_SECONDS)):
            restarts = pool.restarts[index]
            metrics.teacher_replica_up.set(float(up), str(index))
            metrics.teacher_replica_restarts_total.inc(restarts - counted[index], str(index))
            counted[index] = restarts

    def watch() -> None:
        while not stop.wait(_EVERY_SECONDS):
            look()

    thread = threading.Thread(target=watch, name="pool-watch", daemon=True)
    look()  # each replica has its series from the start
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
