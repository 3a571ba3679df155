"""Patterns and reads against a real S3 endpoint: moto's server."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer
from support.web import web_server

from dist_erase.data.shards import expand_shards
from dist_erase.data.source import ShardSource, SourceSettings, make_source
from dist_erase.errors import UserError

WHERE = "data.forget.shards"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "someone")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        store = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        store.create_bucket(Bucket="pool")
        for number in range(12):
            key = f"forget/{number:03d}.tar"
            store.put_object(Bucket="pool", Key=key, Body=bytes([number]) * 1000)
        store.put_object(Bucket="pool", Key="forget/notes.txt", Body=b"none")
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture
def source(endpoint: str) -> ShardSource:
    return s3(endpoint)


def s3(endpoint: str) -> ShardSource:
    storage = {"s3": {"endpoint_url": endpoint}}
    return make_source(SourceSettings(timeout_seconds=5, retries=1, storage=storage))


def urls(*numbers: int) -> tuple[str, ...]:
    return tuple(f"s3://pool/forget/{number:03d}.tar" for number in numbers)


def test_globs_braces_and_lists_of_patterns(source: ShardSource) -> None:
    found = expand_shards(
        ["s3://pool/forget/01*.tar", "s3://pool/forget/00{7,3}.tar", "s3://pool/*/00[0-1].tar"],
        where=WHERE,
        source=source,
    )
    assert found == (urls(10, 11), urls(7, 3), urls(0, 1))


def test_ranged_reads(source: ShardSource) -> None:
    [shard] = urls(7)
    assert source.read(shard, 10, 14) == b"\7\7\7\7"
    assert source.read(shard, 990, 2000) == b"\7" * 10
    assert source.stat(shard).size == 1000
    with pytest.raises(OSError, match="no such range"):
        source.read(shard, 5000, 5001)


def test_a_listing_answers_the_first_stat_and_only_that(endpoint: str, source: ShardSource) -> None:
    store = boto3.client("s3", endpoint_url=endpoint)
    store.put_object(Bucket="pool", Key="other/a.tar", Body=b"a" * 10)
    [[shard]] = expand_shards("s3://pool/other/*.tar", where=WHERE, source=source)
    store.put_object(Bucket="pool", Key="other/a.tar", Body=b"b" * 20)
    listed, asked = source.stat(shard), source.stat(shard)
    assert (listed.size, asked.size) == (10, 20)
    assert listed.version != asked.version
    assert s3(endpoint).stat(shard) == asked  # a listing and a question agree on the version
    fresh = s3(endpoint)
    expand_shards("s3://pool/other/*.tar", where=WHERE, source=fresh)
    assert fresh.stat(shard) == asked


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (
            "s3://pool/forget/{010..013}.tar",
            r"no shard matches `s3://pool/forget/012.tar` \(2 of 4 names\) "
            r"\(looked in s3://pool/forget; similar names there: 01",
        ),
        ("s3://pool/forgotten/*.tar", r"s3://pool/forgotten does not exist; s3://pool does"),
        ("s3://pond/forget/*.tar", r"nothing is there, not even s3://pond\)\. .* AWS's chain"),
        ("s3://pool/forget", r"no shard matches `s3://pool/forget`"),
    ],
)
def test_missing_shards(source: ShardSource, pattern: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        expand_shards(pattern, where=WHERE, source=source)
    assert str(caught.value).startswith(f"{WHERE}: no shard matches `s3://p")


def test_a_missing_key(source: ShardSource) -> None:
    for ask in (lambda s: source.stat(s), lambda s: source.read(s, 0, 4)):
        with pytest.raises(FileNotFoundError, match=r"s3://pool/nothing\.tar"):
            ask("s3://pool/nothing.tar")


def test_no_endpoint() -> None:
    with pytest.raises(
        UserError, match=r"cannot be read: .*127.0.0.1:9.* \(2 attempts\)"
    ) as caught:
        expand_shards(urls(1)[0], where=WHERE, source=s3("http://127.0.0.1:9"))
    assert "Is the address right and reachable from here?" in str(caught.value)


def test_access_refused() -> None:
    with web_server() as web:
        web.always = "403"
        for pattern in ("s3://pool/{a,b}.tar", "s3://pool/*.tar"):
            with pytest.raises(UserError, match=r"refuses access.*AWS_PROFILE.*anon=true"):
                expand_shards(pattern, where=WHERE, source=s3(web.url))


def test_an_option_that_there_is_not(endpoint: str) -> None:
    source = make_source(SourceSettings(storage={"s3": {"endpoint": endpoint}}, retries=0))
    with pytest.raises(UserError, match="'endpoint'"):
        expand_shards(urls(1)[0], where=WHERE, source=source)
