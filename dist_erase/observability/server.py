"""A small HTTP(S) server in a thread: one function answers every GET."""

from __future__ import annotations

import logging
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import Any

from dist_erase.errors import UserError
from dist_erase.observability.web_config import WebConfig

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """To one request; `sent` is called when it is out."""

    status: int
    content_type: str
    text: str
    sent: Callable[[], None] | None = None


class Server:
    """Serves until `close`.

    Args:
        bind: address to listen on; 0.0.0.0 or :: for every interface.
        port: 0 takes a free one.
        web: TLS and passwords.
        answer: path and User-Agent of a request → its answer.

    Attributes:
        address: HOST:PORT for another machine.

    Raises:
        UserError: the address cannot be listened on.
    """

    def __init__(
        self,
        bind: str,
        port: int,
        *,
        web: WebConfig,
        answer: Callable[[str, str | None], Answer],
    ) -> None:
        self._server = _listen(bind, port, partial(_Handler, web, answer), web)
        self.address = _reachable(bind, self._server.server_address[1])
        threading.Thread(
            target=partial(self._server.serve_forever, poll_interval=0.1),
            name="metrics-exporter",
            daemon=True,
        ).start()

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()


def check_address(bind: str, port: int) -> None:
    """Raises UserError if a `Server` could not listen there now; before anything costly starts."""
    _listen(bind, port, socketserver.BaseRequestHandler, WebConfig(None, {})).server_close()


def _listen(bind: str, port: int, handler: Any, web: WebConfig) -> _Tcp:
    try:
        return _Tcp(bind, port, handler, web)
    except OSError as error:
        raise UserError(
            "observe.bind, observe.port",
            f"cannot listen on {bind} port {port} ({error.strerror}).",
            "Give an address of this machine and a free port; port 0 finds one.",
        ) from error


def _reachable(bind: str, port: int) -> str:
    """HOST:PORT under which another machine finds a server bound to `bind`."""
    host = bind
    if bind in ("0.0.0.0", "::", ""):
        # The source address that this machine would use; connecting UDP sends nothing. The
        # host name is of no use here: pods do not know each other's.
        family = socket.AF_INET6 if bind == "::" else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("2001:db8::1" if bind == "::" else "192.0.2.1", 9))
                host = probe.getsockname()[0]
            except OSError:
                host = "::1" if bind == "::" else "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Tcp(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, bind: str, port: int, handler: Any, web: WebConfig) -> None:
        self.address_family = socket.AF_INET6 if ":" in bind else socket.AF_INET
        super().__init__((bind, port), handler)
        if web.tls is not None:
            # The handshake waits for the request's own thread: a silent client keeps nobody out.
            self.socket = web.tls.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says what failed in the log; a scraper that hung up is nothing to report."""
        if not isinstance(sys.exception(), OSError):  # ssl's errors are such, too
            _log.warning("a request to the metrics address failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = 30

    def __init__(
        self, web: WebConfig, answer: Callable[[str, str | None], Answer], *args: Any
    ) -> None:
        self._web = web
        self._answer = answer
        super().__init__(*args)

    def do_GET(self) -> None:
        if not self._web.allows(self.headers.get("Authorization")):
            answer = Answer(status=401, content_type="text/plain", text="name and password?\n")
        else:
            path, agent = self.path.partition("?")[0], self.headers.get("User-Agent")
            answer = self._answer(path, agent)
        body = answer.text.encode()
        self.send_response(answer.status)
        if answer.status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="metrics"')
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if answer.sent is not None:
            answer.sent()

    def log_message(self, format: str, *args: Any) -> None:
        """No line for each scrape."""
