"""Says in metrics which teacher replicas answer, while the driver waits for the trainer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dist_erase.observability.emit import Metrics
from dist_erase.teacher.pool import TeacherPool

_EVERY_SECONDS = 1.0
_LATE_SECONDS = 10.0


@contextmanager
def watched_pool(pool: TeacherPool, metrics: Metrics) -> Iterator[None]:
    """Inside, `dist_erase_teacher_replica_up` follows the pool."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(_EVERY_SECONDS):
            for index, up in enumerate(pool.replicas_up(_LATE_SECONDS)):
                metrics.teacher_replica_up.set(float(up), str(index))

    thread = threading.Thread(target=watch, name="pool-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
