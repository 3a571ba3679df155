"""Which sample lands in which set, by label, caption and id; never one image in two sets."""

import hashlib
import json

import pytest
from support.pools import files, photo, read_set, sample, texts, write_pool

from dist_erase.data.split.job import split_pool
from dist_erase.data.split.request import SplitRequest
from dist_erase.data.split.rules import SetRule, SplitOptions
from dist_erase.errors import UserError

FORGET = ("train/forget", "eval/forget")
RETAIN = ("train/retain", "eval/retain")


def fruit(label: int) -> str:
    return ("an apple", "an orange", "a pear", "a car")[label]


@pytest.fixture
def pool(tmp_path):
    """40 images in two shards: apples, oranges, pears, cars."""
    rows = [sample(n, f"{fruit(n % 4)} number {n}", n % 4) for n in range(40)]
    return write_pool(tmp_path / "pool", [rows[:23], rows[23:]])


def split(pool, tmp_path, name="out", classes=(), **options):
    options.setdefault("forget", SetRule(regexes=("apple",)))
    request = SplitRequest(
        out=tmp_path / name, source=pool, options=SplitOptions(**options), classes=classes
    )
    return split_pool(request)


def numbers(out, *places):
    return sorted(int(text.rpartition(" ")[2]) for text in texts(out, *places))


def test_by_label_with_shares_of_each_set(pool, tmp_path):
    summary = split(
        pool,
        tmp_path,
        classes=("apple", "orange", "pear", "car"),
        forget=SetRule(labels=("apple", "3")),
        reserve_fraction=0.1,
    )
    assert summary.samples == {
        "train/forget": 12,
        "eval/forget": 6,
        "reserve/forget": 2,
        "train/retain": 12,
        "eval/retain": 6,
        "reserve/retain": 2,
    }
    found = numbers(tmp_path / "out", *FORGET, "reserve/forget")
    assert found == [n for n in range(40) if n % 4 in (0, 3)]


def test_samples_keep_their_members_under_a_key_that_leads_back(pool, tmp_path):
    split(pool, tmp_path)
    rows = {
        row["key"]: row for place in (*FORGET, *RETAIN) for row in read_set(tmp_path / "out", place)
    }
    assert len(rows) == 40
    row = rows["00001-0000002"]  # sample 2 of the second shard is number 25
    assert row["jpg"] == photo(25)
    assert (row["txt"], row["cls"]) == (b"an orange number 25", b"1")
    assert json.loads(row["json"]) == {"caption": "an orange number 25"}
    record = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert [entry["samples"] for entry in record["pool"]] == [23, 17]
    assert record["pool"][1]["path"].endswith("pool/001.tar")
    assert record["disjoint"] == {
        "by": "first 64 bits of BLAKE2b of the encoded image",
        "checked": 40,
        "shared": 0,
    }


def test_an_image_is_forgotten_if_any_caption_of_any_copy_matches(tmp_path):
    rows = [sample(n, ["a car", f"photo {n}"]) for n in range(20)]
    rows[3] = sample(3, ["a tree", "an APPLE beside it"])
    rows.append(sample(7, ["nothing", "an apple, really"]))  # the image of row 7, in another shard
    source = write_pool(tmp_path / "pool", [rows[:20], rows[20:]])
    source = source.model_copy(update={"caption": "json:caption"})
    summary = split(source, tmp_path)
    forgotten = [row for place in FORGET for row in read_set(tmp_path / "out", place)]
    assert sorted(row["key"] for row in forgotten) == [
        "00000-0000003",
        "00000-0000007",
        "00001-0000000",
    ]
    assert summary.facts["moved_to_forget"] == {"exact": 1, "near": 0}
    assert summary.facts["images"] == 20


def test_hold_outs_are_evaluated_only_and_forget_comes_first(pool, tmp_path):
    split(
        pool,
        tmp_path,
        forget=SetRule(regexes=(r"apple number (0|4|8)\b",)),
        association=SetRule(regexes=("apple",)),
        identity=SetRule(regexes=("orange", "pear", "apple")),
        eval_fraction=0.4,
    )
    out = tmp_path / "out"
    assert numbers(out, *FORGET) == [0, 4, 8]
    assert numbers(out, "eval/holdout_association") == list(range(12, 40, 4))
    assert numbers(out, "eval/holdout_identity") == [n for n in range(40) if n % 4 in (1, 2)]
    assert numbers(out, *RETAIN) == list(range(3, 40, 4))


def test_a_share_of_the_hold_outs_leaves_the_rest_to_retain(pool, tmp_path):
    split(pool, tmp_path, identity=SetRule(regexes=("orange",)), holdout_fraction=0.3)
    assert len(texts(tmp_path / "out", "eval/holdout_identity")) == 3
    assert len(texts(tmp_path / "out", *RETAIN)) == 27


def test_every_form_of_an_id(pool, tmp_path):
    lines = ["# requests of May", "", "000.tar/000004", "pool/001.tar#2"]
    lines += [
        hashlib.sha256(photo(11)).hexdigest(),
        f"sha256:{hashlib.sha256(photo(39)).hexdigest()}",
    ]
    (tmp_path / "ids.txt").write_text("\n".join(lines))
    split(pool, tmp_path, forget=SetRule(), forget_ids=tmp_path / "ids.txt")
    assert numbers(tmp_path / "out", *FORGET) == [4, 11, 25, 39]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("apple", "line 1: 'apple' names no sample. Write SHARD.tar/KEY"),
        ("002.tar#0", "line 1: no shard of the pool is called '002.tar'."),
        ("001.tar#17", "001.tar has no sample 17. It has 17, numbered from 0."),
        ("001.tar/17", "001.tar has no sample with the key '17'."),
        ("f" * 64, f"line 1: no usable image of the pool has the SHA-256 {'f' * 64}."),
        ("# nothing", "names no sample."),
    ],
)
def test_ids_that_name_nothing(pool, tmp_path, line, message):
    (tmp_path / "ids.txt").write_text(line)
    with pytest.raises(UserError) as caught:
        split(pool, tmp_path, forget=SetRule(), forget_ids=tmp_path / "ids.txt")
    assert message in str(caught.value)


def test_shards_of_one_name_need_their_folders(tmp_path):
    for name, first in (("a", 0), ("b", 5)):
        write_pool(tmp_path / name, [[sample(n) for n in range(first, first + 5)]])
    source = write_pool(tmp_path / "a", [[sample(n) for n in range(5)]])
    source = source.model_copy(update={"shards": [f"{tmp_path}/a/*.tar", f"{tmp_path}/b/*.tar"]})
    ids = tmp_path / "ids.txt"
    ids.write_text("000.tar#1")
    with pytest.raises(UserError, match=r"'000.tar' is the name of 2 shards: .*/a/000.tar"):
        split(source, tmp_path, forget=SetRule(), forget_ids=ids)
    ids.write_text("b/000.tar#1\na/000.tar#0")
    split(source, tmp_path, forget=SetRule(), forget_ids=ids)
    assert numbers(tmp_path / "out", *FORGET) == [0, 6]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"forget": SetRule()}, "none is given, so nothing would be forgotten."),
        ({"forget": SetRule(regexes=("kiwi",))}, "train/forget: the set would be empty (0 of 40"),
        ({"forget": SetRule(regexes=(".",))}, "train/retain: the set would be empty (40 of 40"),
        ({"forget": SetRule(regexes=("(",))}, "--forget-regex: '(' is no pattern"),
        ({"forget": SetRule(labels=("appel",))}, "no class is called 'appel'. Did you mean apple?"),
        ({"forget": SetRule(labels=("9",))}, "--forget-label: is 9, with 2 classes. Use 0 to 1."),
        (
            {"identity": SetRule(regexes=("apple",))},
            "eval/holdout_identity: the set would be empty",
        ),
        ({"forget": SetRule(regexes=("number 4$",))}, "eval/forget: the set would be empty"),
        ({"eval_fraction": 0.6, "reserve_fraction": 0.4}, "0.6 + 0.4 leaves nothing to train on."),
    ],
)
def test_rules_that_cannot_be_followed(pool, tmp_path, options, message):
    with pytest.raises(UserError) as caught:
        split(pool, tmp_path, classes=("apple", "car"), **options)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_class_names_without_a_list_of_them(pool, tmp_path):
    with pytest.raises(UserError, match=r"'apple', without class names. Give --classes FILE"):
        split(pool, tmp_path, forget=SetRule(labels=("apple",)))
    assert not (tmp_path / ".out.split").exists()


def test_unusable_samples_are_in_no_set_and_listed(tmp_path):
    rows = [sample(n, f"{'apple' if n < 9 else 'car'} {n}") for n in range(30)]
    rows[4]["txt"] = b"  "
    rows[20]["txt"] = b"\xff"
    source = write_pool(tmp_path / "pool", [rows])
    summary = split(source, tmp_path)
    assert sum(summary.samples.values()) == 28
    assert summary.facts["left_out"] == {"caption": 2}
    lines = (tmp_path / "out" / "left_out.csv").read_text().splitlines()
    assert lines[1] == "000.tar#4,000004,caption,the caption (txt) is empty"
    assert lines[2].startswith("000.tar#20,000020,caption,.txt is not UTF-8")


def test_the_seed_decides_and_the_place_in_the_pool_does_not(tmp_path):
    rows = [sample(n, f"{fruit(n % 4)} {n}") for n in range(40)]
    source = write_pool(tmp_path / "pool", [rows])
    turned = write_pool(tmp_path / "turned", [rows[::-1]])
    split(source, tmp_path, "a")
    split(turned, tmp_path, "b")
    split(source, tmp_path, "c", seed=1)
    held_out = [texts(tmp_path / name, "eval/retain") for name in "abc"]
    assert held_out[0] == held_out[1] != held_out[2]


def test_the_same_again_is_up_to_date_and_other_options_are_refused(pool, tmp_path):
    split(pool, tmp_path)
    before = files(tmp_path / "out")
    assert split(pool, tmp_path).up_to_date
    with pytest.raises(UserError, match=r"other options \(seed: 0 there, 1 now\)"):
        split(pool, tmp_path, seed=1)
    assert files(tmp_path / "out") == before
    assert not (tmp_path / ".out.split").exists()
