"""Lines into a pipe, log or terminal that may not show every character and may go away."""

from __future__ import annotations

from typing import TextIO


class Lines:
    """Writes whole lines, each at once.

    Attributes:
        unread: whether whoever read the pipe has gone; later lines are dropped.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.unread = False

    def write(self, line: str) -> None:
        """Writes one line; characters that the stream cannot hold become escapes."""
        encoding = self._stream.encoding or "utf-8"
        shown = line.encode(encoding, "backslashreplace").decode(encoding)
        try:
            self._stream.write(f"{shown}\n")
            self._stream.flush()
        except BrokenPipeError:
            self.unread = True
