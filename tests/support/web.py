"""A web server on loopback that serves files by range, and misbehaves as it is told.

It is enough of an S3 endpoint, too: GET /BUCKET/KEY is all that a ranged read asks for.
"""

from __future__ import annotations

import hashlib
import re
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_CHUNK = 1 << 16


class Web(ThreadingHTTPServer):
    """Serves `files` by path.

    Attributes:
        script: what to do with the next requests, then `always`: `serve`, a status such as `503`,
            `drop` (the connection), `stall` (no answer), `stall body`, `truncate` (the body),
            `less` (a shorter range than asked for) or `ignore range`.
        requests: method, path and Range header of each request so far.
        sent: bytes of bodies sent so far.
        signature: what every request must have in its query; None = nothing.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.script: deque[str] = deque()
        self.always = "serve"
        self.etags = True
        self.signature: str | None = None
        self.requests: list[tuple[str, str, str | None]] = []
        self.sent = 0
        self.ended = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a killed client is part of a test
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def web_server() -> Iterator[Web]:
    server = Web()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement
    server: Web

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        web, (path, _, query) = self.server, self.path.partition("?")
        web.requests.append((self.command, path, self.headers["Range"]))
        act = web.script.popleft() if web.script else web.always
        if act == "serve" and path not in web.files:
            act = "404"
        if web.signature is not None and web.signature not in query:
            act = "403"
        if act.isdigit():
            self._head(int(act), {"Content-Length": "0"})
        elif act == "drop":
            self.close_connection = True
        elif act == "stall":
            web.ended.wait(30)
            self.close_connection = True
        else:
            self._serve(web.files[path], act)

    def _serve(self, content: bytes, act: str) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
        headers = {"ETag": f'"{hashlib.md5(content).hexdigest()}"'} if self.server.etags else {}
        headers["Last-Modified"] = "Wed, 21 Oct 2015 07:28:00 GMT"
        if wanted is None or act == "ignore range":
            self._head(200, headers | {"Content-Length": str(len(content))})
            self._body(content)
            return
        start, stop = int(wanted[1]), min(int(wanted[2]) + 1, len(content))
        if start >= len(content):
            self._head(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
            return
        if act == "less":
            stop = start + (stop - start) // 2
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        self._head(206, headers | {"Content-Length": str(stop - start)})
        if act in ("truncate", "stall body"):
            self._body(content[start : start + (stop - start) // 2])
            if act == "stall body":
                self.server.ended.wait(30)
            self.close_connection = True
        else:
            self._body(content[start:stop])

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _body(self, content: bytes) -> None:
        if self.command == "HEAD":
            return
        try:
            for start in range(0, len(content), _CHUNK):
                self.wfile.write(content[start : start + _CHUNK])
                self.server.sent += len(content[start : start + _CHUNK])
            self.wfile.flush()
        except ConnectionError:
            self.close_connection = True
