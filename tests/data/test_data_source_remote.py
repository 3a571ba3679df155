"""Reads over HTTP and S3 from a server that misbehaves."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.web import Web, web_server

from dist_erase.data.source import ShardSource, ShardStat, SourceSettings, make_source

CONTENT = random.Random(5).randbytes(300_000)
Make = Callable[..., tuple[ShardSource, str]]


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as server:
        server.files["/pool/a.tar"] = CONTENT
        server.files["/pool/empty.tar"] = b""
        yield server


@pytest.fixture(params=["http", "s3"])
def make(request: pytest.FixtureRequest, web: Web, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A source and a shard's URL, over HTTP and over S3."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAHUSHHUSH")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    def made(*, timeout: float = 5.0, retries: int = 2) -> tuple[ShardSource, str]:
        settings = SourceSettings(
            timeout_seconds=timeout,
            retries=retries,
            storage={"s3": {"endpoint_url": web.url}},
        )
        url = f"{web.url}/pool/a.tar" if request.param == "http" else "s3://pool/a.tar"
        return make_source(settings), url

    return made


def test_reads_and_stat(make: Make, web: Web) -> None:
    source, url = make()
    assert source.read(url, 1000, 5000) == CONTENT[1000:5000]
    assert web.requests == [("GET", "/pool/a.tar", "bytes=1000-4999")]
    assert source.read(url, 0, len(CONTENT)) == CONTENT
    assert source.read(url, 299_000, 400_000) == CONTENT[299_000:]
    assert source.read(url, 7, 7) == b""
    before = source.stat(url)
    assert before.size == len(CONTENT)
    web.files["/pool/a.tar"] = CONTENT[::-1]
    after = source.stat(url)
    assert after.size == before.size
    assert after.version != before.version


def test_stat_without_an_etag_and_of_an_empty_file(web: Web) -> None:
    source = make_source(SourceSettings())
    assert source.stat(f"{web.url}/pool/empty.tar").size == 0
    web.etags = False
    said = ShardStat(len(CONTENT), "last-modified:Wed, 21 Oct 2015 07:28:00 GMT")
    assert source.stat(f"{web.url}/pool/a.tar") == said


@pytest.mark.parametrize("failure", ["500", "503", "429", "drop", "truncate", "stall", "less"])
def test_what_may_pass_is_tried_again(make: Make, web: Web, failure: str) -> None:
    source, url = make(timeout=3.0 if failure == "stall" else 5.0)
    web.script.append(failure)
    assert source.read(url, 10, 70_000) == CONTENT[10:70_000]
    reads = [request for request in web.requests if request[0] == "GET"]
    assert len(reads) == 2


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ("500", r"HTTP 500 \(2 attempts\)"),
        ("drop", r"\(2 attempts\)"),
        ("truncate", r"\(2 attempts\)"),
        ("less", r"ended after 5000 of 10000 bytes \(2 attempts\)"),
    ],
)
def test_what_does_not_pass_names_the_shard(make: Make, web: Web, failure: str, said: str) -> None:
    source, url = make(retries=1)
    web.always = failure
    with pytest.raises(OSError, match=said) as caught:
        source.read(url, 0, 10_000)
    assert url in str(caught.value)
    sent = [request for request in web.requests if request[0] == "GET"]
    # aiohttp asks once more by itself where the connection ends without an answer.
    assert len(sent) == (4 if failure == "drop" else 2)


@pytest.mark.parametrize("failure", ["stall", "stall body"])
def test_a_hanging_server_does_not_hang_the_run(make: Make, web: Web, failure: str) -> None:
    source, url = make(timeout=0.4, retries=1)
    web.always = failure
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no answer within 0.4 s \(2 attempts\)") as caught:
        source.read(url, 0, 200_000)
    assert time.monotonic() - began < 0.4 * 2 + 0.5 + 5.0  # attempts, pause, a busy machine
    assert url in str(caught.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [("403", PermissionError), ("404", FileNotFoundError), ("416", OSError), ("400", OSError)],
)
def test_what_lasts_is_not_tried_again(
    make: Make, web: Web, status: str, kind: type[OSError]
) -> None:
    source, url = make()
    web.always = status
    with pytest.raises(kind, match="server") as caught:
        source.read(url, 0, 10)
    assert url in str(caught.value)
    assert len(web.requests) == 1


def test_a_server_that_ignores_range(web: Web) -> None:
    source, url = make_source(SourceSettings(retries=3)), f"{web.url}/pool/a.tar"
    web.always = "ignore range"
    assert source.stat(url).size == len(CONTENT)
    assert source.read(url, 0, len(CONTENT)) == CONTENT
    web.files["/pool/a.tar"] = bytes(100_000_000)
    before, asked = web.sent, len(web.requests)
    with pytest.raises(OSError, match="ignores Range requests") as caught:
        source.read(url, 5000, 6000)
    assert url in str(caught.value)
    assert len(web.requests) == asked + 1
    assert web.sent - before < 50_000_000  # what the socket buffers took, not the file


def test_no_server(make: Make, web: Web) -> None:
    web.server_close()
    source, url = make(retries=1)
    with pytest.raises(OSError, match=r"onnect.* \(2 attempts\)") as caught:
        source.read(url, 0, 10)
    assert url in str(caught.value)


@pytest.mark.parametrize("failure", ["403", "404", "500", "truncate", "stall", "ignore range"])
def test_no_secret_in_an_error(web: Web, failure: str, caplog: pytest.LogCaptureFixture) -> None:
    web.always = failure
    source = make_source(SourceSettings(timeout_seconds=0.3, retries=0))
    signed = f"{web.url}/pool/a.tar?X-Amz-Credential=AKIAHUSH&X-Amz-Signature=hush"
    host = web.url.removeprefix("http://")
    for url in (signed, f"http://me:hush@{host}/pool/a.tar"):
        with pytest.raises(OSError, match=r"/pool/a\.tar") as caught:
            source.read(url, 10, 20_000)
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text
        assert "hush" not in shown.lower()


def test_no_s3_credential_in_an_error(make: Make, web: Web) -> None:
    source, url = make(retries=0)
    for failure in ("403", "500", "truncate"):
        web.always = failure
        with pytest.raises(OSError, match=url) as caught:
            source.read(url, 10, 20_000)
        assert "hush" not in "".join(traceback.format_exception(caught.value)).lower()


def test_threads_share_a_source(make: Make) -> None:
    source, url = make()
    starts = range(0, 290_000, 5000)
    with ThreadPoolExecutor(16) as pool:
        parts = list(pool.map(lambda start: source.read(url, start, start + 5000), starts))
    assert b"".join(parts) == CONTENT[:290_000]


def _read_in_child(source: ShardSource, url: str, answers: Any) -> None:
    started: list[str] = []
    names = ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.exec", "os.system")
    sys.addaudithook(lambda event, _: started.append(event) if event in names else None)
    answers.put((source.read(url, 1000, 2000), started, "ray" in sys.modules))


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_other_processes_open_their_own_connections(make: Make, method: str) -> None:
    source, url = make()
    assert source.read(url, 0, 1000) == CONTENT[:1000]  # the parent's connection is open
    assert pickle.loads(pickle.dumps(source)).settings == source.settings
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    child = context.Process(target=_read_in_child, args=(source, url, answers))
    child.start()
    data, started, ray = answers.get(timeout=60)
    child.join()
    assert data == CONTENT[1000:2000]
    assert started == []
    assert method == "fork" or not ray
    assert source.read(url, 2000, 3000) == CONTENT[2000:3000]
    assert os.getpid() != child.pid
