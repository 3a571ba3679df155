"""Ray's notice that a node of the workers will be taken away, which does not come as a signal."""

from __future__ import annotations

import logging
import threading

import ray.train

from dist_erase.errors import StopAsked

log = logging.getLogger(__name__)
# Ray itself looks every 5 seconds (RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S).
_ASK_SECONDS = 1.0


class DrainWatch:
    """Asks Ray beside the training loop, since asking is a round trip of all workers.

    Every worker of the group has one, made at the same place: they ask in step, and what the
    first worker knows is told to all.
    """

    def __init__(self) -> None:
        self._asked: StopAsked | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._ask, name="drain", daemon=True).start()

    def asked(self) -> StopAsked | None:
        """Who asks to stop: a node that is drained; None while there is none."""
        return self._asked

    def close(self) -> None:
        """Asks no more."""
        self._ended.set()

    def _ask(self) -> None:
        while not self._ended.wait(_ASK_SECONDS):
            try:
                found = ray.train.get_preemption_info()
            except TimeoutError as error:  # the controller is busy; it may be asked again
                log.warning("no word of drained nodes, asking again: %s", error)
                continue
            except Exception as error:  # noqa: BLE001 - the group is being taken down
                log.warning("no more word of drained nodes: %s", error)
                return
            if found is not None:
                nodes = ", ".join(node[:8] for node in found.preempted_node_ids)
                ranks = ", ".join(map(str, found.preempted_ranks))
                self._asked = StopAsked("drain", f"the drain of node {nodes} (ranks {ranks})")
                return
