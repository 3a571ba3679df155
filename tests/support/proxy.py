"""A TCP proxy on loopback whose connections can be cut, or left hanging, from outside."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Passes bytes on to a port of this machine.

    Attributes:
        port: where it listens.
        opened: connections so far.
        cuts: connections that `cut` has ended so far.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._refuses = False
        self._muted: set[int] = set()
        self._unanswered: bytes | None = None
        self._losing: set[int] = set()
        self.port: int = self._server.getsockname()[1]
        self.opened = 0
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> int:
        """Ends all connections; gives how many there were."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for side in pair:
                with suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
        self.cuts += len(pairs)
        return len(pairs)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Inside, every connection ends at once."""
        self._refuses = True
        self.cut()
        try:
            yield
        finally:
            self._refuses = False

    def mute(self) -> None:
        """From now on present connections stay open and pass nothing on; new ones work."""
        with self._lock:
            self._muted = {id(pair) for pair in self._pairs}

    @contextmanager
    def losing_the_answer_to(self, request: bytes) -> Iterator[None]:
        """Inside, a connection ends when the answer to a request with such a text comes."""
        self._unanswered = request
        try:
            yield
        finally:
            self._unanswered = None

    def close(self) -> None:
        """Ends everything."""
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._server.accept()
                if self._refuses:
                    ours.close()
                    continue
                theirs = socket.create_connection(("127.0.0.1", self._target))
                pair = (ours, theirs)
                with self._lock:
                    self._pairs.append(pair)
                    self.opened += 1
                for source, sink in (pair, pair[::-1]):
                    threading.Thread(
                        target=self._pass, args=(pair, source, sink), daemon=True
                    ).start()

    def _pass(
        self, pair: tuple[socket.socket, socket.socket], source: socket.socket, sink: socket.socket
    ) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if source is pair[0] and self._unanswered and self._unanswered in data:
                    self._losing.add(id(pair))
                if source is pair[1] and id(pair) in self._losing:
                    self._losing.discard(id(pair))
                    self.cuts += 1
                    for side in pair:
                        side.shutdown(socket.SHUT_RDWR)
                    break
                if id(pair) not in self._muted:
                    sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        with self._lock:
            self._pairs = [other for other in self._pairs if other is not pair]
