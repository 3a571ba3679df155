"""The log of a job, each character once, over as many connections as it takes."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from typing import Any

_SILENCE_SECONDS = 60.0  # a connection may die without a word
_PAUSE_SECONDS = 1.0


class JobLog:
    """What a job says, as it says it.

    Ray's stream breaks off with a proxy, a restarted dashboard or an idle firewall, at times as
    if the job had ended. Every stream starts at the log's beginning, so what has been read already
    is counted and left out.

    Args:
        client: JobSubmissionClient.
        job: its submission id.
        silence_seconds: after so long without a word, a new connection is made.

    Attributes:
        connections: how often a stream was opened.
    """

    def __init__(self, client: Any, job: str, *, silence_seconds: float = _SILENCE_SECONDS) -> None:
        self.connections = 0
        self._client, self._job = client, job
        self._silence = silence_seconds
        self._pieces: queue.SimpleQueue[tuple[int, str | None]] = queue.SimpleQueue()
        self._taken = 0  # characters handed out
        self._met = 0  # characters of the present stream
        self._heard = 0.0
        self._again_at: float | None = 0.0

    def take(self, seconds: float) -> str:
        """The next new text; empty after `seconds` without any."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._reconnect_if_due()
            try:
                connection, text = self._pieces.get(timeout=min(left, 0.2))
            except queue.Empty:
                continue
            if connection != self.connections:
                continue  # of a stream that was given up
            if text is None:
                self._again_at = time.monotonic() + _PAUSE_SECONDS
                continue
            self._heard = time.monotonic()
            self._met += len(text)
            if self._met > self._taken:
                fresh = text[max(0, len(text) - (self._met - self._taken)) :]
                self._taken = self._met
                return fresh
        return ""

    def rest(self, whole: str) -> str:
        """What of the whole log has not been handed out yet."""
        fresh, self._taken = whole[self._taken :], max(self._taken, len(whole))
        return fresh

    def _reconnect_if_due(self) -> None:
        now = time.monotonic()
        due = self._again_at is not None and now >= self._again_at
        if due or (self._again_at is None and now - self._heard > self._silence):
            self.connections += 1
            self._met, self._heard, self._again_at = 0, now, None
            threading.Thread(target=self._read, args=(self.connections,), daemon=True).start()

    def _read(self, connection: int) -> None:
        async def pieces() -> None:
            async for text in self._client.tail_job_logs(self._job):
                self._pieces.put((connection, text))

        try:
            asyncio.run(pieces())
        except Exception:  # noqa: BLE001 - whatever broke it, the stream is opened again
            pass
        finally:
            self._pieces.put((connection, None))
