"""Counting shards: from headers or side files, kept, noticed when stale, faults as facts."""

from __future__ import annotations

import io
import json
import logging
import os
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dist_erase.config.source import SourceConfig
from dist_erase.data.index import index_set
from dist_erase.data.scan import iterate_raw
from dist_erase.data.set_index import SetIndex, same_content
from dist_erase.errors import BadSampleError, UserError

Shards = Callable[..., str]


def indexed(pattern: str, cache: Path | None = None, **options: object) -> SetIndex:
    return index_set(SourceConfig(shards=pattern), where="data.retain", cache_dir=cache, **options)


def origins(index: SetIndex) -> list[str]:
    return [Path(shard.summary.origin).name for shard in index.shards]


def test_side_files_count_and_the_shards_stay_closed(shards: Shards) -> None:
    folder = Path(shards([5, 6, 7, 8])).parent
    ends = [int(end) for end in indexed(f"{folder}/001.tar").open(0).ends]
    starts = [int(start) for start in indexed(f"{folder}/001.tar").open(0).starts]
    (folder / "000.idx").write_text("v1.2 5\njpg 512 1000 00000.jpg txt 2048 9 00000.txt\n")
    (folder / "001.tar.idx").write_bytes(struct.pack("<7Q", *starts, ends[-1]))
    (folder / "002_stats.json").write_text(json.dumps({"count": 9, "successes": 7}))
    (folder / "sizes.json").write_text(json.dumps({"003.tar": 8}))
    index = indexed(f"{folder}/*.tar")
    assert index.counts == (5, 6, 7, 8)
    assert origins(index) == ["000.idx", "001.tar.idx", "002_stats.json", "sizes.json"]
    assert [shard.summary.members for shard in index.shards] == [{}] * 4
    read = [raw["txt"].decode() for _, raw in iterate_raw(index)]
    assert read == [f"set {number}" for number in range(26)]


@pytest.mark.parametrize("wrong", [4, 6])
def test_a_count_found_wrong_later_names_shard_and_side_file(shards: Shards, wrong: int) -> None:
    folder = Path(shards([5])).parent
    (folder / "000_stats.json").write_text(json.dumps({"successes": wrong}))
    with pytest.raises(UserError, match=f"holds 5 samples, but .*000_stats.json says {wrong}"):
        indexed(f"{folder}/*.tar").open(0)


def test_a_wrong_side_file_can_be_mended_or_removed(shards: Shards, tmp_path: Path) -> None:
    folder, cache = Path(shards([5])).parent, tmp_path / "index"
    side = folder / "000_stats.json"
    side.write_text(json.dumps({"successes": 6}))
    assert indexed(f"{folder}/*.tar", cache).counts == (6,)
    side.write_text(json.dumps({"successes": 5, "count": 5}))
    assert indexed(f"{folder}/*.tar", cache).counts == (5,)
    side.write_text(json.dumps({"successes": 7, "count": 700}))
    assert indexed(f"{folder}/*.tar", cache).counts == (7,)
    side.unlink()
    assert indexed(f"{folder}/*.tar", cache).counts == (5,)


def test_other_samples_in_a_file_of_the_same_size_are_another_set(shards: Shards) -> None:
    one, other = Path(shards([3], "a")).parent, Path(shards([3], "b")).parent
    assert (one / "000.tar").stat().st_size == (other / "000.tar").stat().st_size
    fingerprints = [indexed(f"{folder}/*.tar").fingerprint for folder in (one, other)]
    assert not same_content(*fingerprints)


def test_names_in_other_encodings_are_read(shards: Shards, tmp_path: Path) -> None:
    path = tmp_path / "latin.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        for suffix, data in (("jpg", b"x"), ("txt", b"a caption")):
            header = tarfile.TarInfo(f"caf\xe9.{suffix}")
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    index = indexed(str(path))
    [(_, raw)] = iterate_raw(index)
    assert not isinstance(raw, BadSampleError)
    assert raw["txt"] == b"a caption"
    assert index.label(0)[2] == "caf\ufffd"


def test_a_damaged_kept_scan_is_made_again(shards: Shards, tmp_path: Path) -> None:
    pattern, cache = shards([3]), tmp_path / "index"
    indexed(pattern, cache)
    [kept] = cache.glob("*.npz")
    kept.write_bytes(kept.read_bytes()[:100])
    assert len(indexed(pattern, cache).open(0)) == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("000.idx", "5 samples"),
        ("000.tar.idx", "seven bytes.."),
        ("000_stats.json", '{"count": 5}'),
        ("000_stats.json", '{"successes": -1}'),
        ("sizes.json", '{"000.tar": "5"}'),
    ],
)
def test_side_files_that_make_no_sense_are_named(shards: Shards, name: str, content: str) -> None:
    folder = Path(shards([5])).parent
    (folder / name).write_text(content)
    with pytest.raises(UserError, match="is no index of samples") as caught:
        indexed(f"{folder}/*.tar")
    assert caught.value.where == str(folder / name)


def test_only_changed_shards_are_read_again(
    shards: Shards, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pattern, cache = shards([3, 4]), tmp_path / "index"
    first = indexed(pattern, cache)
    for shard in first.shards:
        status = os.stat(shard.path)
        Path(shard.path).write_bytes(b"no tar any more".ljust(status.st_size, b"!"))
        os.utime(shard.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert indexed(pattern, cache).counts == (3, 4)  # same size and time: not looked at
    os.utime(first.shards[1].path)
    with caplog.at_level(logging.WARNING), pytest.raises(UserError, match=r"not a readable"):
        indexed(pattern, cache)
    assert "1 shards have changed and are read anew" in caplog.text
    assert first.shards[1].path in caplog.text
    with pytest.raises(UserError, match="no shard holds a sample"):  # nothing is kept there
        indexed(pattern, tmp_path / "other", tolerant=True, trust=True)


def test_ranks_trust_what_the_driver_counted(shards: Shards, tmp_path: Path) -> None:
    pattern, cache = shards([3, 4]), tmp_path / "index"
    indexed(pattern, cache)
    os.utime(Path(pattern).parent / "000.tar")
    kept = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert indexed(pattern, cache, trust=True).counts == (3, 4)
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == kept


def test_many_shards_are_scanned_by_processes_and_come_in_order(
    shards: Shards, tmp_path: Path
) -> None:
    counts = [1 + number % 3 for number in range(20)]
    told: list[tuple[int, int]] = []
    pattern = shards(counts)
    index = indexed(
        pattern, tmp_path / "index", workers=2, progress=lambda *done: told.append(done)
    )
    assert index.counts == tuple(counts)
    assert told[-1] == (20, 20)
    assert len(list((tmp_path / "index").glob("*.npz"))) == 20


def cut_shard(folder: Path, keep: float) -> Path:
    shard = folder / "000.tar"
    end = int(indexed(str(shard)).open(0).ends[-1])
    shard.write_bytes(shard.read_bytes()[: int(end * keep)])
    return shard


def outcomes(index: SetIndex) -> list[str]:
    return [
        f"{raw.reason}" if isinstance(raw, BadSampleError) else raw["__key__"]
        for _, raw in iterate_raw(index)
    ]


@pytest.mark.parametrize("cut", range(1, 4000, 97))
def test_a_shard_cut_anywhere_gives_what_is_whole(shards: Shards, cut: int) -> None:
    folder = Path(shards([6])).parent
    shard = folder / "000.tar"
    ends = indexed(str(shard)).open(0).ends
    shard.write_bytes(shard.read_bytes()[: int(ends[3]) + cut])
    index = indexed(str(shard), tolerant=True)
    found = outcomes(index)
    whole = int((ends <= ends[3] + cut).sum())
    assert found[:whole] == [f"{number:05d}" for number in range(whole)]
    assert set(found[whole:]) <= {"truncated", f"{whole:05d}"}  # cut between two members
    assert len(found) <= whole + 1
    assert index.faults[0].startswith(f"{shard}: truncated: no end-of-archive mark")


def test_what_a_cut_shard_lacks_of_its_count_is_missing_sample_by_sample(shards: Shards) -> None:
    folder = Path(shards([6])).parent
    (folder / "000_stats.json").write_text(json.dumps({"successes": 6}))
    shard = cut_shard(folder, 0.5)
    found = outcomes(indexed(str(shard), tolerant=True))
    assert len(found) == 6
    assert found[:2] == ["00000", "00001"]
    assert found[-2:] == ["truncated", "truncated"]
    with pytest.raises(UserError, match="truncated"):
        indexed(str(shard)).open(0)


def test_an_empty_shard_among_others_is_a_fault_not_the_end(shards: Shards) -> None:
    folder = Path(shards([4, 2])).parent
    (folder / "001.tar").write_bytes(bytes(10240))
    index = indexed(f"{folder}/*.tar", tolerant=True)
    assert index.counts == (4, 0)
    assert [raw["txt"] for _, raw in iterate_raw(index)] == [b"set 0", b"set 1", b"set 2", b"set 3"]
    assert "empty" in index.faults[0]
    with pytest.raises(UserError, match="no shard holds a sample"):
        indexed(f"{folder}/001.tar", tolerant=True)


def test_a_tolerant_set_without_any_caption_is_still_a_mistake(shards: Shards) -> None:
    with pytest.raises(UserError, match=r"no sample has a \.json member \(they hold \.cls, \.jpg"):
        index_set(
            SourceConfig(shards=shards([4]), caption="json:text"), where="data.x", tolerant=True
        )


def test_a_set_stays_the_same_however_its_samples_were_counted(shards: Shards) -> None:
    """A resume must not fail because an index was deleted, or made by headers meanwhile."""
    pattern = shards([5, 6], "one")
    read = indexed(pattern).fingerprint
    Path(pattern).with_name("sizes.json").write_text(json.dumps({"000.tar": 5, "001.tar": 6}))
    counted = indexed(pattern).fingerprint
    assert read != counted
    for one, other in ((read, counted), (counted, read), (read, read), (counted, counted)):
        assert same_content(one, other)
    for more in (read, counted):
        assert not same_content(indexed(shards([5, 7], f"more-{len(more)}")).fingerprint, more)


def test_equal_indexes_have_equal_fingerprints_wherever_they_lie(shards: Shards) -> None:
    one, other = (Path(shards([3, 4], name)).parent for name in "ab")
    for shard in ("000.tar", "001.tar"):
        (other / shard).write_bytes((one / shard).read_bytes())
    fingerprint = indexed(f"{one}/*.tar").fingerprint
    assert indexed(f"{other}/*.tar").fingerprint == fingerprint
    assert indexed(f"{other}/000.tar").fingerprint != fingerprint
    some = SourceConfig(shards=f"{one}/*.tar", max_samples=5)
    drawn = {index_set(some, where="x", seed=seed).fingerprint for seed in (0, 1, 2)}
    assert len(drawn | {fingerprint}) > 2
