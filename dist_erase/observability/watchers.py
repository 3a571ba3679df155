"""Who watches a run at its metrics address, beside Prometheus: `dist-erase watch`."""

from __future__ import annotations

import threading
import time
import uuid

_AGENT = "dist-erase-watch/"
LOOKER = "dist-erase-look"  # User-Agent of one who learns the end elsewhere: nobody waits for it
# A watcher that has not asked for so long has left. They ask every two seconds.
_LEFT_SECONDS = 10.0


def new_agent() -> str:
    """The User-Agent of one watcher, its own."""
    return f"{_AGENT}{uuid.uuid4().hex}"


class Watchers:
    """Knows which of them have seen the end of a run, so that its exporter waits for them.

    They are no Prometheus: the last values of a run are not collected because one of them asked.
    """

    def __init__(self) -> None:
        self._last_seen: dict[str, float] = {}
        self._changed = threading.Condition()

    def asked(self, agent: str | None, *, told_the_end: bool) -> bool:
        """Whether this User-Agent is a watcher's; notes that it asked, or forgets who was told."""
        if agent == LOOKER:
            return True
        if agent is None or not agent.startswith(_AGENT):
            return False
        with self._changed:
            self._last_seen[agent] = time.monotonic()
            if told_the_end:
                del self._last_seen[agent]
            self._changed.notify_all()
        return True

    def wait(self, seconds: float) -> None:
        """Waits until each watcher who is present has been told the end, at most so long."""
        with self._changed:
            self._changed.wait_for(self._is_empty, timeout=min(seconds, _LEFT_SECONDS))

    def _is_empty(self) -> bool:
        now = time.monotonic()
        return all(now - seen >= _LEFT_SECONDS for seen in self._last_seen.values())
