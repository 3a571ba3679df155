"""The digits data set: what is written, that it is deterministic, and what is protected."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from dist_erase.data.build.digits import DIGIT_NAMES, build_digits
from dist_erase.errors import UserError


def read_set(folder: Path, name: str) -> list[dict]:
    shards = [str(path) for path in sorted(folder.glob(f"{name}-*.tar"))]
    return list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False))


def bytes_of(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("data") / "digits"
    build_digits(out)
    return out


def test_every_digit_is_written_once_and_a_third_of_each_class_is_held_out(digits):
    keys, share = [], {}
    for split in ("train", "eval"):
        for name in ("forget", "retain"):
            for sample in read_set(digits, f"{split}/{name}"):
                label = int(sample["cls"])
                assert (label == 7) == (name == "forget")
                keys.append(sample["__key__"])
                share.setdefault(label, []).append(split == "eval")
    assert len(keys) == len(set(keys)) == 1797
    assert all(np.mean(held) == pytest.approx(0.3, abs=0.01) for held in share.values())
    assert json.loads((digits / "classes.json").read_text()) == list(DIGIT_NAMES)


def test_members_agree_with_each_other(digits):
    for sample in read_set(digits, "eval/forget"):
        facts = json.loads(sample["json"])
        assert facts["sha256"] == hashlib.sha256(sample["jpg"]).hexdigest()
        assert facts["caption"] == sample["txt"].decode()
        assert facts["label"] == int(sample["cls"]) == 7
        assert "seven" in facts["caption"]
        image = Image.open(io.BytesIO(sample["jpg"]))
        assert (image.size, image.mode) == ((32, 32), "RGB")


def test_each_set_has_several_shards_and_the_record_counts_them(digits):
    record = json.loads((digits / "dataset.json").read_text())
    for name, samples in record["samples"].items():
        shards = {k: v for k, v in record["shards"].items() if k.startswith(f"{name}-")}
        assert len(shards) >= 2
        assert sum(shard["samples"] for shard in shards.values()) == samples
        assert samples == len(read_set(digits, name))
    for name, shard in record["shards"].items():
        assert hashlib.sha256((digits / name).read_bytes()).hexdigest() == shard["sha256"]


def test_no_image_is_in_forget_and_retain(digits):
    images = {
        name: {
            json.loads(sample["json"])["sha256"]
            for split in ("train", "eval")
            for sample in read_set(digits, f"{split}/{name}")
        }
        for name in ("forget", "retain")
    }
    assert not images["forget"] & images["retain"]


def test_two_builds_have_equal_bytes(digits, tmp_path):
    build_digits(tmp_path / "again")
    assert bytes_of(tmp_path / "again") == bytes_of(digits)


def test_members_carry_no_time_and_no_owner(digits):
    with tarfile.open(digits / "train/forget-000000.tar") as tar:
        assert {(m.mtime, m.uid, m.gid) for m in tar.getmembers()} == {(0, 0, 0)}


def test_seed_changes_the_split(digits, tmp_path):
    build_digits(tmp_path / "other", seed=1)
    key = "train/forget-000000.tar"
    assert bytes_of(tmp_path / "other")[key] != bytes_of(digits)[key]


def test_same_options_do_nothing_the_second_time(tmp_path):
    first = build_digits(tmp_path / "d", forget=["one"])
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "d").rglob("*")}
    again = build_digits(tmp_path / "d", forget=["one"])
    assert again.up_to_date
    assert again.samples == first.samples
    assert written == {p: p.stat().st_mtime_ns for p in (tmp_path / "d").rglob("*")}


def test_other_options_are_refused_and_replaced_on_request(tmp_path):
    out = tmp_path / "d"
    build_digits(out, forget=["one"])
    before = bytes_of(out)
    with pytest.raises(UserError) as caught:
        build_digits(out, forget=["two", "three"])
    assert str(caught.value) == (
        f"{out}: holds a data set built with other options (forget: ['one'] there, "
        "['two', 'three'] now). Replace it with --overwrite, or name another folder."
    )
    assert bytes_of(out) == before
    build_digits(out, forget=["two", "three"], overwrite=True)
    assert {int(sample["cls"]) for sample in read_set(out, "train/forget")} == {2, 3}
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_missing_or_cut_shard_is_noticed(tmp_path):
    out = tmp_path / "d"
    build_digits(out)
    shard = out / "train" / "retain-000001.tar"
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(UserError, match=r"retain-000001\.tar: is missing or has another size"):
        build_digits(out)


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_that_are_not_ours_are_never_touched(tmp_path, overwrite):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds what is not ours \(thesis\.tex\)"):
        build_digits(tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_foreign_file_beside_ours_is_never_touched(tmp_path):
    out = tmp_path / "d"
    build_digits(out)
    (out / "notes.txt").write_text("mine")
    assert build_digits(out).up_to_date
    with pytest.raises(UserError, match=r"holds what is not ours \(notes\.txt\)"):
        build_digits(out, forget=["one"], overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"


def test_a_replacement_that_fails_leaves_the_old_one(tmp_path):
    build_digits(tmp_path / "d")
    before = bytes_of(tmp_path / "d")

    def fail(what: str, done: int, planned: int) -> None:
        if what == "writing shards":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_digits(tmp_path / "d", seed=1, overwrite=True, progress=fail)
    assert bytes_of(tmp_path / "d") == before
    build_digits(tmp_path / "d", seed=1, overwrite=True)
    assert bytes_of(tmp_path / "d") != before
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize(
    ("forget", "message"),
    [
        (["sevn"], "no class is called 'sevn'. Did you mean seven? The classes are: zero, one,"),
        ([], "0 of 10 classes would be forgotten."),
        (list(DIGIT_NAMES), "10 of 10 classes would be forgotten."),
    ],
)
def test_classes_that_cannot_be_forgotten(tmp_path, forget, message):
    with pytest.raises(UserError) as caught:
        build_digits(tmp_path / "d", forget=forget)
    assert message in str(caught.value)
    assert not (tmp_path / "d").exists()
