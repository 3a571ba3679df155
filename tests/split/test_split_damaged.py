"""Damaged shards and samples end no split: they are in no set, and left_out.csv says why."""

import csv
import io
import shutil
import tarfile

import pytest
from support.pools import photo, sample, texts, write_pool

from dist_erase.data.split.job import split_pool
from dist_erase.data.split.request import ReviewOptions, SplitRequest
from dist_erase.data.split.rules import SetRule, SplitOptions
from dist_erase.errors import UserError

SETS = [f"{part}/{kind}" for part in ("train", "eval") for kind in ("forget", "retain")]


def rows(first, count):
    return [sample(n, f"{'apple' if n % 2 else 'car'} {n}") for n in range(first, first + count)]


def tar_of(path, *members):
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def cut(path, key):
    """Cuts a shard off in the image of this sample."""
    with tarfile.open(path) as tar:
        end = tar.getmember(f"{key}.jpg").offset_data + 100
    path.write_bytes(path.read_bytes()[:end])


def split(source, tmp_path, **request):
    options = SplitOptions(forget=SetRule(regexes=("apple",)), near=request.pop("near", None))
    return split_pool(SplitRequest(out=tmp_path / "out", source=source, options=options, **request))


def left_out(tmp_path):
    with (tmp_path / "out" / "left_out.csv").open(newline="") as stream:
        return [(row["id"], row["key"], row["reason"]) for row in csv.DictReader(stream)]


@pytest.fixture
def source(tmp_path):
    pool = tmp_path / "pool"
    source = write_pool(pool, [rows(0, 20), rows(20, 10)])
    cut(pool / "001.tar", "000004")
    tar_of(pool / "002.tar")
    tar_of(
        pool / "003.tar",
        ("a.jpg", photo(50)),
        ("a.txt", b"apple 50"),
        ("a.txt", b"apple again"),
        ("b.jpg", photo(51)),
        ("c.txt", b"apple without an image"),
        ("d.txt", b"apple 52"),
        ("d.jpg", photo(52)),
    )
    (pool / "004.tar").write_text("no tar at all")
    return source


# With a teacher, embeddings and the sheet's pictures are made of the same pool.
@pytest.mark.parametrize("by_teacher", [False, True])
def test_a_dirty_pool_is_split_and_what_was_left_out_is_named(source, tmp_path, pixels, by_teacher):
    request = {}
    if by_teacher:
        reviewing = ReviewOptions(folder=tmp_path / "review", yes=True)
        request = {"near": 0.9999, "teacher": pixels, "reviewing": reviewing}
    summary = split(source, tmp_path, **request)
    numbers = sorted(int(text.split()[-1]) for text in texts(tmp_path / "out", *SETS))
    assert numbers == [*range(24), 50, 52]
    assert left_out(tmp_path) == [
        ("001.tar", "", "shard"),
        ("002.tar", "", "shard"),
        ("004.tar", "", "shard"),
        ("001.tar#4", "000004", "truncated"),
        ("003.tar#1", "a", "duplicate"),
        ("003.tar#2", "b", "structure"),
        ("003.tar#3", "c", "structure"),
    ]
    assert summary.facts["left_out"] == {"truncated": 1, "duplicate": 1, "structure": 2}
    assert summary.facts["damaged_shards"] == 3


def test_of_a_shard_that_a_side_file_counts_as_well(tmp_path):
    source = write_pool(tmp_path / "pool", [rows(0, 20), rows(20, 10)])
    (tmp_path / "pool" / "001_stats.json").write_text('{"count": 10, "successes": 10}')
    cut(tmp_path / "pool" / "001.tar", "000008")
    split(source, tmp_path)
    found = left_out(tmp_path)
    assert found[0] == ("001.tar", "", "shard")
    assert found[1:] == [("001.tar#8", "000008", "truncated"), ("001.tar#9", "?", "truncated")]


def test_a_pool_of_which_nothing_can_be_used_is_refused_with_a_mend_of_the_split(tmp_path):
    pool = tmp_path / "pool"
    source = write_pool(pool, [rows(0, 4)])
    with pytest.raises(UserError, match=r"no sample has a \.txt member") as caught:
        split(write_pool(pool, [[{"jpg": photo(0)}]]), tmp_path)
    assert caught.value.mend == "Change --caption."
    shutil.rmtree(pool)
    pool.mkdir()
    tar_of(pool / "000.tar")
    with pytest.raises(UserError, match="no shard holds a sample") as caught:
        split(source, tmp_path)
    assert caught.value.mend == "Make or copy the shards again."
