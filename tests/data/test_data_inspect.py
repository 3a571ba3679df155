"""What `inspect` says of clean shards, dirty ones, and files that are none."""

import gzip
import io
import json
import pickle
import tarfile

import pytest
from support.pools import photo, sample, write_pool
from support.web import web_server

from dist_erase.data.captions import CaptionPlan
from dist_erase.data.inspect import inspect_shards, quantiles
from dist_erase.data.inspect_shard import InspectTask, inspect_shard
from dist_erase.data.source import SourceSettings
from dist_erase.errors import UserError


def tar_of(path, members):
    """A tar with these (name, content) members, in order; nothing checks them."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return str(path)


def looked_at(*patterns, **options):
    return inspect_shards([str(p) for p in patterns], **options).as_json()


@pytest.mark.parametrize("workers", [0, 2])
def test_clean_shards(tmp_path, workers):
    rows = [sample(n, f"caption {n % 5}", n % 3) for n in range(30)]
    source = write_pool(tmp_path / "pool", [rows[:20], rows[20:]])
    found = looked_at(source.shards, workers=workers, deep=True)
    assert (found["shards"], found["samples"]) == (2, 30)
    assert found["members"] == {"jpg": 30, "txt": 30, "json": 30, "cls": 30}
    assert found["images"]["formats"] == {"JPEG": 30}
    assert found["images"]["shorter_side"]["50%"] == 24
    assert (found["images"]["distinct"], found["images"]["bad"]) == (30, {})
    assert (found["captions"]["usable"], found["captions"]["distinct"]) == (30, 5)
    assert found["captions"]["characters"]["100%"] == len("caption 4")
    assert found["labels"] == {
        "samples": 30,
        "classes": 3,
        "largest": {"0": 10, "1": 10, "2": 10},
    }
    assert found["keys_in_several_samples"] == 10
    assert found["json_fields"] == {"caption": 30}
    assert found["warnings"] == {}


def test_captions_in_json_several_missing_and_broken(tmp_path):
    def row(n, fields):
        return (f"{n}.jpg", photo(n)), (f"{n}.json", fields)

    members = [
        *row(0, b'{"caption": "one"}'),
        *row(1, b'{"caption": ["one", "two", " "]}'),
        *row(2, b'{"title": "none"}'),
        *row(3, b'{"caption": 5}'),
        *row(4, b"{"),
        *row(5, b"[]"),
        *row(6, b'{"caption": [" "]}'),
        *row(7, b'{"caption": "half a pair: \\ud800"}'),
        ("8.jpg", photo(8)),
    ]
    found = looked_at(tar_of(tmp_path / "a.tar", members), caption="json:caption")
    assert (found["captions"]["usable"], found["captions"]["distinct"]) == (3, 2)
    counts = {kind: entry["count"] for kind, entry in found["warnings"].items()}
    assert counts == {
        "several captions": 1,
        "empty caption": 1,
        "no caption": 3,  # another field, a number, no .json
        "bad caption": 1,
        "bad json": 2,
    }


@pytest.mark.parametrize(
    ("caption", "usable", "distinct", "warnings"),
    [
        ("txt", 3, 2, {}),
        ("txt:lines", 4, 3, {"several captions": 1}),
        ("json:meta.captions", 2, 2, {"several captions": 1, "no caption": 2}),
        ("cls", 2, 1, {"bad caption": 1}),
    ],
)
def test_captions_count_as_in_training_wherever_they_stand(
    tmp_path, caption, usable, distinct, warnings
):
    fields = json.dumps({"meta": {"captions": ["a", "b"]}}).encode()
    rows = [
        {"jpg": photo(0), "txt": b"\xef\xbb\xbfone\ntwo\n", "json": fields, "cls": b"1"},
        {"jpg": photo(1), "txt": b"three", "json": b'{"meta": {}}', "cls": b"1"},
        {"jpg": photo(2), "txt": b"three ", "json": b'{"meta": 1}', "cls": b"2"},
    ]
    source = write_pool(tmp_path, [rows])
    found = looked_at(source.shards, caption=caption, classes=("zero", "one"))
    assert (found["captions"]["usable"], found["captions"]["distinct"]) == (usable, distinct)
    counts = {kind: entry["count"] for kind, entry in found["warnings"].items()}
    assert counts == warnings


def test_what_was_found_behind_a_signed_url_is_told_without_the_signature(tmp_path):
    write_pool(tmp_path, [[sample(0, jpg=photo(0)[:-100]), sample(1, txt=b"")]])
    with web_server() as web:
        web.signature = "X-Amz-Signature=5ec7e7"
        web.files["/a.tar"] = (tmp_path / "000.tar").read_bytes()
        web.files["/none.tar"] = b"hello"
        signed = f"{web.url}/{{}}.tar?{web.signature}"
        found = json.dumps(looked_at(signed.format("a"), deep=True))
        with pytest.raises(UserError, match="is not a readable tar file") as caught:
            looked_at(signed.format("none"))
        task = InspectTask(signed.format("gone"), CaptionPlan(), False, SourceSettings(retries=0))
        with pytest.raises(UserError, match="cannot be read") as unread:
            inspect_shard(task)
    assert f"{web.url}/a.tar#0 (key 000000)" in found
    assert f"{web.url}/a.tar#1 (key 000001): the caption (txt) is empty" in found
    assert "5ec7e7" not in found + str(caught.value) + str(unread.value)


def test_every_kind_of_dirt_is_named_with_its_place(tmp_path):
    path = tar_of(
        tmp_path / "dirty.tar",
        [
            ("22.0/1.1.png", photo(0)),
            ("22.0/1.txt", b"a dot"),
            ("2.jpg", b""),
            ("2.txt", b"\xff\xfe"),
            ("3.jpg", photo(3)),
            ("3.png", b"not looked at, the jpg is"),
            ("3.pyd", pickle.dumps(print)),
            ("3.cls", b"seven"),
            ("4.jpg", photo(4)),
            ("4.jpg", photo(5)),
            ("3.txt", b"again"),
            ("noname", b""),
            ("5.png", photo(6)),
            ("5.weird", b"1"),
        ],
    )
    found = looked_at(path)["warnings"]
    assert found["dot in a key"]["examples"] == [
        f"{path}: 22.0/1.1.png is read as key 22.0/1, suffix 1.png"
    ]
    assert found["zero-byte member"]["examples"] == [f"{path}: 2.jpg"]
    assert found["unreadable image"]["examples"] == [f"{path}#1 (key 2): UnidentifiedImageError"]
    assert found["bad caption"]["examples"][0].startswith(f"{path}#1 (key 2): .txt is not UTF-8")
    assert found["pickled member"]["count"] == 1
    assert found["bad label"]["examples"] == [f"{path}#2 (key 3): b'seven'"]
    assert found["duplicate member"]["examples"] == [f"{path}: 4.jpg: readers refuse the shard"]
    assert found["duplicate key"]["examples"] == [f"{path}: 3 is two samples"]
    assert found["member without suffix"]["count"] == 1
    assert found["format differs from suffix"]["examples"] == [
        f"{path}#5 (key 5): JPEG in a .png member"
    ]
    assert found["unknown suffix"]["count"] == 1
    # 22.0/1 has only an image called 1.png, and the second half of sample 3 has none.
    assert found["no image"]["count"] == 2
    assert all(entry["meaning"] for entry in found.values())


def test_pickles_are_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    trap = pickle.dumps(Trap())
    members = [("0.jpg", photo(0)), ("0.txt", b"x"), ("0.pyd", trap), ("0.pickle", trap)]
    found = looked_at(tar_of(tmp_path / "a.tar", members), deep=True)
    assert found["warnings"]["pickled member"]["count"] == 2
    assert not (tmp_path / "sprung").exists()


def test_broken_shards_are_warnings_beside_a_whole_one(tmp_path):
    write_pool(tmp_path, [[sample(n) for n in range(8)]])
    whole = (tmp_path / "000.tar").read_bytes()
    (tmp_path / "1-cut.tar").write_bytes(whole[: len(whole) // 2 - 100])
    (tmp_path / "2-no-end.tar").write_bytes(whole.rstrip(b"\0")[:-100] + b"\0" * 100)
    (tmp_path / "3-packed.tar").write_bytes(gzip.compress(whole))
    tar_of(tmp_path / "4-empty.tar", [])
    damaged = bytearray(whole)
    with tarfile.open(tmp_path / "000.tar") as tar:
        member = tar.getmembers()[16]
    damaged[member.offset : member.offset + 512] = b"\x07" * 512
    (tmp_path / "5-damaged.tar").write_bytes(damaged)
    found = looked_at(tmp_path / "*.tar")
    warnings = found["warnings"]
    assert "1-cut.tar" in warnings["truncated shard"]["examples"][0]
    assert "2-no-end.tar" in warnings["truncated shard"]["examples"][1]
    assert "compressed with gzip; unpack it first" in warnings["not a tar"]["examples"][0]
    assert "4-empty.tar" in warnings["empty shard"]["examples"][0]
    assert f"no tar header at byte {member.offset}" in warnings["corrupt shard"]["examples"][0]
    assert found["shards"] == 6
    assert found["samples"] > 8 + 4


def test_deep_decodes_and_names_every_bad_image(tmp_path):
    rows = [sample(n) for n in range(6)]
    rows[1]["jpg"] = photo(1)[:-100]  # the header is whole
    rows[4]["jpg"] = b"\x89PNG but no more"
    rows[5]["jpg"] = rows[0]["jpg"]
    source = write_pool(tmp_path, [rows])
    quick, deep = looked_at(source.shards), looked_at(source.shards, deep=True)
    assert quick["warnings"]["unreadable image"]["count"] == 1
    assert "bad" not in quick["images"]
    assert deep["images"]["distinct"] == 5
    assert sorted(entry[0].rpartition("/")[2] for entry in deep["images"]["bad_ids"]) == [
        "000.tar#1 (key 000001)",
        "000.tar#4 (key 000004)",
    ]
    assert deep["images"]["bad"] == {"OSError": 1, "UnidentifiedImageError": 1}


def test_what_cannot_be_read_at_all(tmp_path):
    (tmp_path / "a.tar").write_text("hello")
    with pytest.raises(UserError, match=r"a.tar: is not a readable tar file \(truncated header\)"):
        inspect_shards([str(tmp_path / "a.tar")])
    with pytest.raises(UserError, match="PATTERN: no shard matches"):
        inspect_shards([str(tmp_path / "b.tar")])
    with pytest.raises(UserError, match=r"--caption: is 'text'\. Write txt, txt:lines, json:KEY"):
        inspect_shards([str(tmp_path / "a.tar")], caption="text")
    with pytest.raises(UserError, match=r"--caption: is cls, which needs class names\."):
        inspect_shards([str(tmp_path / "a.tar")], caption="cls")


def test_json_is_json(tmp_path):
    source = write_pool(tmp_path, [[sample(n) for n in range(3)]])
    assert json.loads(json.dumps(looked_at(source.shards)))["samples"] == 3


def test_quantiles_are_values_that_occur():
    from collections import Counter

    assert quantiles(Counter({1: 1, 5: 98, 9: 1})) == {
        "0%": 1, "5%": 5, "50%": 5, "95%": 5, "100%": 9,
    }  # fmt: skip
    assert quantiles(Counter()) is None
