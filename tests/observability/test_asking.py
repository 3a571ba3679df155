"""Metrics asked for over HTTP, from real servers on loopback."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.raw import saying

from dist_erase.observability.asking import get, read_addresses

NO_HTTP = b"\x00\x00\x18\x04\x00\x00\x00\x00\x00"  # how gRPC begins, on Ray's port 6379
SHORT = b"HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\ndist_erase_step 1\n"
CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\ndist_erase_step 1\n"


class Server(ThreadingHTTPServer):
    """Answers `ok`, or sends elsewhere; keeps the Authorization of each request."""

    def __init__(self, elsewhere=None):
        self.elsewhere = elsewhere
        self.seen = []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append(self.headers.get("Authorization"))
        self.send_response(302 if self.server.elsewhere else 200)
        if self.server.elsewhere:
            self.send_header("Location", self.server.elsewhere)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    started = []

    def one(elsewhere=None):
        started.append(Server(elsewhere))
        return started[-1]

    yield one
    for server in started:
        server.shutdown()
        server.server_close()


def test_a_password_goes_to_the_host_that_it_is_for_and_not_where_that_sends(
    serve, tmp_path, monkeypatch
):
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    last = serve()
    first = serve(f"http://localhost:{last.server_port}/metrics")
    assert get(f"http://127.0.0.1:{first.server_port}/metrics", "test") == "ok"
    assert first.seen == ["Basic bWU6c2VjcmV0"]
    assert last.seen == [None]


def test_a_port_that_speaks_no_http_is_told(serve):
    with saying(NO_HTTP) as url:
        with pytest.raises(ValueError, match="does not speak HTTP"):
            get(f"{url}/metrics", "test")
        assert read_addresses([f"{url}/metrics"], "test").runs == []
    with pytest.raises(ValueError, match="nonnumeric port"):
        get("http://127.0.0.1:metrics/", "test")


@pytest.mark.parametrize("words", [SHORT, CHUNK, b""], ids=["length", "chunk", "nothing"])
def test_an_answer_that_broke_off_is_none(words):
    with saying(words) as url, pytest.raises(OSError, match=r"broke off|closed"):
        get(f"{url}/metrics", "test")
