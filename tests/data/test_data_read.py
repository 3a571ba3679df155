from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from webdataset.tariterators import group_by_keys, tar_file_expander

from dist_erase.config.source import SourceConfig
from dist_erase.data.index import index_set
from dist_erase.data.read import BlockCache, BlockReader
from dist_erase.data.set_index import SetIndex
from dist_erase.errors import UserError

Shards = Callable[..., str]


def indexed(pattern: str, **options: object) -> SetIndex:
    return index_set(SourceConfig(shards=pattern, **options), where="data.retain")


def reader(index: SetIndex, block: int = 4, limit: int = 0) -> BlockReader:
    return BlockReader(index, block=block, cache=BlockCache(limit))


@pytest.mark.parametrize("block", [1, 4, 1000])
def test_samples_are_those_that_webdataset_reads(shards: Shards, block: int) -> None:
    pattern = shards([5, 1, 6])
    index = indexed(pattern)
    streams = [
        {"url": shard.path, "stream": io.BytesIO(Path(shard.path).read_bytes())}
        for shard in index.shards
    ]
    whole = list(group_by_keys(tar_file_expander(streams)))
    mine = reader(index, block)
    assert [mine.read(position) for position in range(12)] == whole
    backwards = reader(index, block)
    assert [backwards.read(position) for position in range(11, -1, -1)] == whole[::-1]


def test_a_subset_reads_only_what_it_needs(shards: Shards) -> None:
    pattern = shards([40])
    some = indexed(pattern, max_samples=7)
    mine = reader(some, block=64)
    texts = [mine.read(position)["txt"].decode() for position in range(7)]
    assert texts == [f"set {some.label(position)[1]}" for position in range(7)]
    assert mine.read_bytes < indexed(pattern).bytes / 4
    assert some.bytes == pytest.approx(mine.read_bytes, rel=0.2)


def test_a_block_is_read_once_while_it_is_cached(shards: Shards) -> None:
    index = indexed(shards([12]))
    shared = BlockCache(10**6)
    one, two = (BlockReader(index, block=4, cache=shared) for _ in range(2))
    for position in (0, 3, 5, 1, 7):
        one.read(position)
    assert one.read_bytes == int(index.open(0).ends[7])
    two.read(2)
    assert two.read_bytes == 0


@pytest.mark.parametrize(("limit", "held"), [(8000, False), (10**6, True)])
def test_a_single_sample_is_kept_only_where_the_whole_set_fits(
    shards: Shards, limit: int, held: bool
) -> None:
    index = indexed(shards([12]))
    assert 8000 < index.bytes < 10**6
    cache = BlockCache(limit)
    one, other = (BlockReader(index, block=1, cache=cache) for _ in range(2))
    assert one.read(3) == other.read(3)
    assert (other.hits, other.read_bytes == 0) == (int(held), held)


@pytest.mark.parametrize(("limit", "reads"), [(8000, 12), (10**6, 3)])
def test_blocks_are_read_where_the_whole_set_fits(shards: Shards, limit: int, reads: int) -> None:
    index = indexed(shards([12]))
    one = BlockReader(index, block=4, cache=BlockCache(limit), streams=1000)
    for position in (0, 11, 5, 1, 10, 4, 2, 9, 7, 3, 8, 6):
        one.read(position)
    assert one.queries - one.hits == reads


def test_the_cache_drops_the_least_recent_block() -> None:
    cache = BlockCache(3000)
    blocks = {name: [{"jpg": bytes(1000)}] for name in "abc"}
    cache.put("a", blocks["a"])
    cache.put("b", blocks["b"])
    assert cache.get("a") is blocks["a"]
    cache.put("c", blocks["c"])
    assert cache.get("b") is None
    assert cache.get("a") is blocks["a"]
    cache.put("large", [{"jpg": bytes(9000)}])
    assert [cache.get(name) is None for name in ("a", "c", "large")] == [True, True, False]


def test_a_shard_rewritten_since_it_was_indexed_is_named(shards: Shards) -> None:
    index = indexed(shards([8]))
    other = indexed(shards([8], "other"))
    os.replace(other.shards[0].path, index.shards[0].path)
    assert reader(index).read(0)["txt"] == b"other 0"  # same keys and sizes: nothing to notice
    path = Path(index.shards[0].path)
    start = int(index.open(0).starts[4])
    path.write_bytes(path.read_bytes()[512:])
    with pytest.raises(UserError, match="has changed since it was indexed") as caught:
        reader(index).read(4)
    assert caught.value.where == str(path)
    path.write_bytes(bytes(start))
    with pytest.raises(UserError, match="expected samples 00000 to 00003, found none"):
        reader(index).read(0)
    with pytest.raises(UserError, match=f"it ends before byte {index.open(0).ends[7]}"):
        reader(index).read(4)


def test_a_shard_altered_in_place_is_noticed_at_the_next_block(shards: Shards) -> None:
    index = indexed(shards([8]))
    read = reader(index)
    assert read.read(0)["txt"] == b"set 0"
    path = Path(index.shards[0].path)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes().replace(b"set 6", b"set 9"))  # the same keys and places
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))  # whatever the clock's grain
    assert path.stat().st_size == size
    with pytest.raises(UserError, match=r"since it was indexed \(it was written again\)") as caught:
        read.read(6)
    assert caught.value.where == str(path)


def test_a_shard_altered_before_it_is_opened_is_refused_where_that_is_asked(
    shards: Shards, tmp_path: Path
) -> None:
    source = SourceConfig(shards=shards([8]))
    counted = index_set(source, where="x", cache_dir=tmp_path / "index", unwritten=True)
    free = index_set(source, where="x", cache_dir=tmp_path / "index", trust=True)
    os.utime(counted.shards[0].path, (0, 0))
    with pytest.raises(UserError, match="has changed since it was indexed"):
        reader(counted).read(0)
    assert reader(free).read(0)["txt"] == b"set 0"  # a replay compares what it has read
    elsewhere = replace(counted.shards[0].summary, machine="another")
    copy = replace(counted, shards=(replace(counted.shards[0], summary=elsewhere),))
    assert reader(copy).read(0)["txt"] == b"set 0"  # a copy has a time of its own


def test_a_failed_read_is_an_os_error_with_the_shard(shards: Shards) -> None:
    index = indexed(shards([3]))
    path = index.open(0).path
    os.remove(path)
    os.mkdir(path)
    with pytest.raises(OSError, match="directory") as caught:
        reader(index).read(0)
    assert caught.value.filename == path
