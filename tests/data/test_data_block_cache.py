"""Blocks of remote shards on disk: hits, versions, damage, eviction, several processes."""

from __future__ import annotations

import logging
import multiprocessing
import random
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from support.web import Web, web_server

from dist_erase.data.source import ShardSource, SourceSettings, forget_shard, make_source
from dist_erase.data.source.block_cache import BlockCache

CONTENT = random.Random(6).randbytes(64_000)
SIGNED = "?X-Amz-Signature=one&X-Amz-Expires=60"


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as server:
        server.files["/a.tar"] = CONTENT
        server.files["/b.tar"] = CONTENT[::-1]
        yield server


def cached(folder: Path, limit: int = 10**6) -> ShardSource:
    settings = SourceSettings(
        timeout_seconds=5, retries=0, cache_dir=str(folder), cache_bytes=limit
    )
    return make_source(settings)


def blocks(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*"))


def held(folder: Path) -> int:
    size = 0
    for path in blocks(folder):
        with suppress(FileNotFoundError):  # written in full and renamed meanwhile
            size += path.stat().st_size
    return size


def asked(web: Web) -> int:
    """Requests for blocks so far; a stat asks for one byte."""
    return sum(wanted != "bytes=0-0" for _, _, wanted in web.requests)


def test_a_block_is_read_once_by_all_processes(web: Web, tmp_path: Path) -> None:
    for _ in range(3):
        assert cached(tmp_path).read(f"{web.url}/a.tar", 100, 900) == CONTENT[100:900]
    assert cached(tmp_path).read(f"{web.url}/a.tar{SIGNED}", 100, 900) == CONTENT[100:900]
    assert asked(web) == 1
    assert cached(tmp_path).read(f"{web.url}/b.tar", 100, 900) == CONTENT[::-1][100:900]
    assert cached(tmp_path).read(f"{web.url}/a.tar", 100, 901) == CONTENT[100:901]
    assert asked(web) == 3


def test_a_new_version_is_read_anew(web: Web, tmp_path: Path) -> None:
    url = f"{web.url}/a.tar"
    source = cached(tmp_path)
    assert source.read(url, 0, 50) == CONTENT[:50]
    web.files["/a.tar"] = CONTENT[1:]
    assert cached(tmp_path).read(url, 0, 50) == CONTENT[1:51]
    source.stat(url)
    assert source.read(url, 0, 50) == CONTENT[1:51]
    assert asked(web) == 2


def test_local_shards_are_not_cached(tmp_path: Path) -> None:
    shard = tmp_path / "a.tar"
    shard.write_bytes(CONTENT)
    source = cached(tmp_path / "cache")
    assert source.read(str(shard), 5, 10) == source.read(f"file://{shard}", 5, 10) == CONTENT[5:10]
    assert source.stat(str(shard)).size == len(CONTENT)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_a_damaged_block_is_a_miss(web: Web, tmp_path: Path, damage: str) -> None:
    url = f"{web.url}/a.tar"
    cached(tmp_path).read(url, 0, 1000)
    [block] = blocks(tmp_path)
    content = bytearray(block.read_bytes())
    if damage == "flip":
        content[500] ^= 1
    block.write_bytes(content if damage == "flip" else content[: 600 if damage == "cut" else 0])
    if damage == "gone":
        block.unlink()
    for _ in range(2):
        assert cached(tmp_path).read(url, 0, 1000) == CONTENT[:1000]
    assert asked(web) == 2


def test_the_blocks_unused_for_longest_go_first(tmp_path: Path) -> None:
    cache = BlockCache(str(tmp_path), limit=10_040)
    for number in range(10):
        cache.put("s", "v", number, 0, bytes([number]) * 1000)
        time.sleep(0.002)
    assert cache.get("s", "v", 0, 0) == bytes(1000)
    cache.put("s", "v", 10, 0, bytes([10]) * 1000)
    kept = [number for number in range(11) if cache.get("s", "v", number, 0) is not None]
    assert kept == [0, *range(3, 11)]
    assert held(tmp_path) <= 10_040
    cache.put("s", "v", 11, 0, bytes(20_000))  # never fits
    assert len(blocks(tmp_path)) == 9


def _hammer(folder: str, url: str, seed: int, answers: Any) -> None:
    source = cached(Path(folder), limit=20_000)
    draws = random.Random(seed)
    wrong = 0
    for _ in range(400 if seed else 10**6):  # the first one is killed
        start = draws.randrange(32) * 2000
        wrong += source.read(url, start, start + 2000) != CONTENT[start : start + 2000]
    answers.put(wrong)


def test_many_processes_share_a_small_cache(web: Web, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    children = [
        context.Process(target=_hammer, args=(str(tmp_path), f"{web.url}/a.tar", seed, answers))
        for seed in range(5)
    ]
    for child in children:
        child.start()
    most = 0
    while any(child.is_alive() for child in children[1:]):
        with FileLock(tmp_path / ".lock"):  # nothing is deleted while it is counted
            most = max(most, held(tmp_path))
        if most > 15_000:
            children[0].kill()  # in the middle of whatever it does
        time.sleep(0.01)
    assert [answers.get(timeout=10) for _ in children[1:]] == [0] * 4
    assert not children[0].is_alive()
    assert 15_000 < most <= 20_000 + 5 * 2004  # blocks that are being written may come on top
    assert 100 < asked(web) < 4 * 400  # some were kept, some were deleted


def test_forgetting_a_shard(web: Web, tmp_path: Path) -> None:
    source = cached(tmp_path)
    for name in ("a", "b"):
        source.read(f"{web.url}/{name}.tar", 0, 1000)
    web.files["/a.tar"] = CONTENT[2:]
    cached(tmp_path).read(f"{web.url}/a.tar", 0, 500)
    before = held(tmp_path)
    freed = forget_shard(str(tmp_path), f"{web.url}/a.tar{SIGNED}")
    assert freed == before - held(tmp_path) > 1500
    assert len(blocks(tmp_path)) == 1
    assert forget_shard(str(tmp_path), f"{web.url}/a.tar") == 0
    assert forget_shard(str(tmp_path / "none"), f"{web.url}/a.tar") == 0
    asked_before = asked(web)
    assert source.read(f"{web.url}/b.tar", 0, 1000) == CONTENT[::-1][:1000]
    assert asked(web) == asked_before


def test_a_folder_that_cannot_be_used_costs_the_cache_only(
    web: Web, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    source = cached(tmp_path / "file" / "cache")
    with caplog.at_level(logging.WARNING):
        for start in range(3):
            assert source.read(f"{web.url}/a.tar", start, 900) == CONTENT[start:900]
    [record] = caplog.records
    assert record.getMessage().startswith("data.block_cache.dir: ")


def _read_on_a_full_disk(folder: str, url: str, answers: Any) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    source = cached(Path(folder))
    source.stat(url)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))  # a write beyond fails
    answers.put([source.read(url, start, start + 900) for start in (0, 5)])


def test_a_full_disk_costs_the_cache_only(web: Web, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    url = f"{web.url}/a.tar"
    child = context.Process(target=_read_on_a_full_disk, args=(str(tmp_path), url, answers))
    child.start()
    child.join()
    assert answers.get() == [CONTENT[:900], CONTENT[5:905]]
    assert blocks(tmp_path) == []


def test_lookups_are_counted(web: Web, tmp_path: Path) -> None:
    source = cached(tmp_path)
    for start in (0, 0, 500, 0):
        source.read(f"{web.url}/a.tar", start, start + 500)
    assert (source.queries, source.hits) == (4, 2)
    uncached = make_source(SourceSettings(timeout_seconds=5, retries=0))
    uncached.read(f"{web.url}/a.tar", 0, 500)
    assert (uncached.queries, uncached.hits) == (0, 0)
