"""hf:// against a server that answers as the Hub does; its file system is not asynchronous."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dist_erase.data.shards import expand_shards
from dist_erase.data.source import ShardSource, SourceSettings, make_source
from dist_erase.errors import UserError

CONTENT = bytes(range(256)) * 400
FILES = [f"{number:03d}.tar" for number in range(40)]
SET = "hf://datasets/me/set"


class Hub(ThreadingHTTPServer):
    daemon_threads = True
    stalls = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, str | None]] = []
        self.ended = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Hub

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers["Range"]))
        if self.path == "/api/datasets/me/set":
            self._send(200, json.dumps({"id": "me/set", "sha": "0" * 40}).encode())
        elif self.path.startswith("/api/datasets/me/set/tree/main"):
            files = [{"type": "file", "oid": n, "size": len(CONTENT), "path": n} for n in FILES]
            self._send(200, json.dumps(files).encode())
        elif self.path.startswith("/datasets/me/set/resolve/main/") and self.headers["Range"]:
            if self.server.stalls:
                self.server.ended.wait(30)
            start, last = map(int, re.findall(r"\d+", self.headers["Range"]))
            self._send(206, CONTENT[start : last + 1])
        else:
            self._send(404, b"")

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.ended.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def source(hub: Hub) -> ShardSource:
    endpoint = f"http://127.0.0.1:{hub.server_address[1]}"
    return make_source(
        SourceSettings(timeout_seconds=2, retries=0, storage={"hf": {"endpoint": endpoint}})
    )


def test_reads_ask_for_the_block_and_no_more(hub: Hub, source: ShardSource) -> None:
    assert source.stat(f"{SET}/001.tar").version == "blob_id:001.tar"
    assert source.read(f"{SET}/001.tar", 1000, 1010) == CONTENT[1000:1010]
    assert source.read(f"{SET}/001.tar", len(CONTENT) - 5, len(CONTENT) + 5) == CONTENT[-5:]
    ranges = [wanted for _, wanted in hub.requests if wanted]
    assert ranges == ["bytes=1000-1009", f"bytes={len(CONTENT) - 5}-{len(CONTENT) + 4}"]


def test_braces_do_not_list_the_folder_for_each_name(hub: Hub, source: ShardSource) -> None:
    [shards] = expand_shards(f"{SET}/{{000..039}}.tar", where="x", source=source)
    assert shards == tuple(f"{SET}/{name}" for name in FILES)
    assert expand_shards(f"{SET}/*.tar", where="x", source=source) == (shards,)
    assert [source.stat(shard).size for shard in shards] == [len(CONTENT)] * 40
    assert sum("/tree/" in path for path, _ in hub.requests) == 2
    with pytest.raises(UserError, match=r"set/040.tar` \(1 of 2 names\).*similar names there: 0"):
        expand_shards(f"{SET}/0{{39..40}}.tar", where="x", source=source)


def test_a_hanging_hub_does_not_hang_the_run(hub: Hub, source: ShardSource) -> None:
    hub.stalls = True
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer within 2 s") as caught:
        source.read(f"{SET}/001.tar", 0, 10)
    assert f"{SET}/001.tar" in str(caught.value)
    assert time.monotonic() - began < 15  # it stalls for 30
