from __future__ import annotations

import io
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from webdataset.tariterators import group_by_keys, tar_file_expander

from dist_erase.config.source import SourceConfig
from dist_erase.data.index import index_set
from dist_erase.data.set_index import SetIndex
from dist_erase.errors import UserError

Shards = Callable[..., str]


def write_tar(
    path: Path, members: list[tuple[str, bytes]], format: int = tarfile.PAX_FORMAT
) -> str:
    with tarfile.open(path, "w", format=format) as tar:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            if name.endswith("/"):
                header.type = tarfile.DIRTYPE
            tar.addfile(header, io.BytesIO(data))
    return str(path)


def as_webdataset_reads(data: bytes) -> list[dict]:
    return list(group_by_keys(tar_file_expander([{"url": "x", "stream": io.BytesIO(data)}])))


def indexed(pattern: str, **options: object) -> SetIndex:
    return index_set(SourceConfig(shards=pattern, **options), where="data.retain")


def test_byte_ranges_are_the_samples_that_webdataset_sees(tmp_path: Path) -> None:
    long = "a/very-long-folder-name" * 12  # needs a pax header of its own
    members = [
        ("__meta__/info.json", b"{}"),
        ("one/", b""),
        ("one/a.b.JPG", b"a" * 700),
        ("one/a.jpg", b"first"),
        ("one/a.txt", b"caption a"),
        ("README", b"no suffix, no member of anything"),
        (f"{long}.png", b"second"),
        (f"{long}.txt", b""),
        ("one/a.txt", b"the same key again, not a neighbour: another sample"),
        ("one/a.jpg", b"third"),
    ]
    path = write_tar(tmp_path / "a.tar", members)
    whole = as_webdataset_reads(Path(path).read_bytes())
    index = indexed(path)
    shard = index.open(0)
    data = Path(path).read_bytes()
    parts = [as_webdataset_reads(data[a:b]) for a, b in zip(shard.starts, shard.ends, strict=True)]
    assert [part | {"__url__": "x"} for [part] in parts] == whole
    assert [whole[i]["__key__"] for i in range(3)] == ["one/a", long, "one/a"]
    images = zip(shard.image_starts, shard.image_sizes, strict=True)
    assert [data[a : a + n] for a, n in images] == [b"first", b"second", b"third"]


def test_positions_run_over_the_shards(shards: Shards) -> None:
    index = indexed(shards([3, 1, 4]))
    assert index.counts == (3, 1, 4)
    assert len(index) == 8
    assert [index.locate(p) for p in (0, 2, 3, 4, 7)] == [(0, 0), (0, 2), (1, 0), (2, 0), (2, 3)]
    path, number, key = index.label(5)
    assert (os.path.basename(path), number, key) == ("002.tar", 1, "00001")
    again = pickle.loads(pickle.dumps(index))
    assert again.label(5) == index.label(5)


def test_scans_are_kept_until_the_shard_changes(shards: Shards, tmp_path: Path) -> None:
    pattern = shards([4])
    source = SourceConfig(shards=pattern)
    shard = Path(pattern).parent / "000.tar"
    cache = tmp_path / "cache"
    first = index_set(source, where="x", cache_dir=cache)
    status = shard.stat()
    shard.write_bytes(bytes(status.st_size))  # no tar any more, yet of the same size and time
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = index_set(source, where="x", cache_dir=cache)
    assert second.open(0).keys.tolist() == first.open(0).keys.tolist()
    assert second.open(0).ends.tolist() == first.open(0).ends.tolist()
    os.utime(shard)
    with pytest.raises(UserError, match="empty"):
        index_set(source, where="x", cache_dir=cache)


def test_max_samples_is_a_subset_drawn_by_seed(shards: Shards) -> None:
    source = SourceConfig(shards=shards([30, 30, 40]), max_samples=37)
    chosen = [index_set(source, where="x", seed=seed) for seed in (1, 1, 2)]
    labels = [[index.label(p) for p in range(len(index))] for index in chosen]
    assert len(labels[0]) == len(set(labels[0])) == 37
    assert labels[0] == sorted(labels[0])
    assert labels[0] == labels[1] != labels[2]
    assert all(key == f"{number:05d}" for _, number, key in labels[0])


def test_max_samples_above_the_size_takes_all(shards: Shards) -> None:
    assert len(indexed(shards([3, 2]), max_samples=9)) == 5


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.97])
def test_truncated_shard(shards: Shards, keep: float) -> None:
    pattern = shards([6])
    shard = Path(pattern).parent / "000.tar"
    end = int(indexed(pattern).open(0).ends[-1])
    shard.write_bytes(shard.read_bytes()[: int(end * keep)])
    with pytest.raises(UserError, match=r"tar file|truncated") as caught:
        indexed(pattern)
    assert str(caught.value).startswith(str(shard))


def test_shard_cut_between_two_samples_is_truncated(shards: Shards) -> None:
    pattern = shards([6])
    shard = Path(pattern).parent / "000.tar"
    end = int(indexed(pattern).open(0).ends[3])
    shard.write_bytes(shard.read_bytes()[:end])
    with pytest.raises(UserError, match="truncated: no end-of-archive mark"):
        indexed(pattern)


def test_shard_overwritten_in_the_middle_is_corrupt(shards: Shards) -> None:
    pattern = shards([6])
    shard = Path(pattern).parent / "000.tar"
    start = int(indexed(pattern).open(0).starts[3])
    data = bytearray(shard.read_bytes())
    data[start : start + 512] = b"x" * 512
    shard.write_bytes(data)
    with pytest.raises(UserError, match=f"corrupt: no tar header at byte {start}"):
        indexed(pattern)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a readable tar file .empty file"),
        (b"\x1f\x8b" + b"z" * 2000, "not a readable tar file"),
        (bytes(10240), "the shard is empty"),
    ],
)
def test_files_that_are_no_shards(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.tar"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        indexed(str(path))
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    ("members", "caption", "said"),
    [
        (["k.jpg"], "txt", r"sample k has no .txt member \(it holds .jpg\)"),
        (["k.jpg", "k.txt"], "json:text", "sample k has no .json member"),
        (["k.jpg", "k.txt"], "cls", "sample k has no .cls member"),
        (["k.txt", "k.npy"], "txt", "sample k has no image member"),
        (["k.jpg", "k.txt", "k.JPG"], "txt", "sample k has a member twice"),
    ],
)
def test_samples_without_what_they_need(
    tmp_path: Path, members: list[str], caption: str, said: str
) -> None:
    good = [("good.jpg", b"x"), ("good.txt", b"x"), ("good.json", b"x"), ("good.cls", b"x")]
    path = write_tar(tmp_path / "a.tar", good + [(name, b"x") for name in members])
    with pytest.raises(UserError, match=said) as caught:
        indexed(path, caption=caption)
    assert path in str(caught.value)


def test_old_and_gnu_tars_are_read_too(tmp_path: Path) -> None:
    for number, format in enumerate((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT)):
        name = "n" * 90
        members = [(f"{name}.png", b"i" * 513), (f"{name}.txt", b"c")]
        path = write_tar(tmp_path / f"{number}.tar", members, format)
        shard = indexed(path).open(0)
        assert shard.keys.tolist() == [name.encode()]
        assert np.all(shard.ends - shard.starts == 5 * 512)
