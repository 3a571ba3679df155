"""Whether a run still gives signs of life."""

from __future__ import annotations

import time


class Pulse:
    """Notes when a sign of life last changed, by this machine's monotonic clock.

    The clocks of other machines are trusted once only: for the age of the first sign.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._beat: float | None = None
        self._heard_at: float | None = None

    def hear(self, beat: float | None) -> None:
        """Takes the unix time of the newest sign; None = there is none."""
        if beat is None or beat == self._beat:
            return
        age = max(0.0, time.time() - beat) if self._beat is None else 0.0
        self._beat, self._heard_at = beat, time.monotonic() - age

    @property
    def since(self) -> float | None:
        """Unix time of the newest sign; None = there never was one."""
        return None if self._heard_at is None else time.time() - self.silent_seconds

    @property
    def silent_seconds(self) -> float:
        """How long there was none."""
        return time.monotonic() - (self._began if self._heard_at is None else self._heard_at)
