"""Image files with a table: which pair lands where, and how each mistake is named."""

import json
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from dist_erase.data.build.folder import build_folder
from dist_erase.errors import UserError


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def write_csv(photos: Path, *lines: str) -> Path:
    table = photos / "captions.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def write_jsonl(photos: Path, rows: list[dict]) -> Path:
    table = photos / "captions.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return table


def cats_and_dogs() -> list[dict]:
    return [
        {"image": f"{n}.png", "caption": f"a {'cat' if n < 8 else 'dog'} number {n}"}
        for n in range(20)
    ]


def captions(out: Path, name: str) -> list[str]:
    shards = [str(path) for path in sorted(out.glob(f"{name}-*.tar"))]
    data = webdataset.WebDataset(shards, shardshuffle=False, empty_check=False)
    return [sample["txt"].decode() for sample in data]


def test_sets_and_splits_as_the_table_says(photos, tmp_path):
    table = write_csv(
        photos,
        "image,caption,split,set,label",
        "0.png,a cat,train,forget,cat",
        "1.png,another cat,eval,forget,cat",
        '2.png,"a dog, asleep",train,retain,dog',
        "3.png,a dog awake,eval,retain,dog",
    )
    build_folder(tmp_path / "out", table=table)
    assert captions(tmp_path / "out", "train/forget") == ["a cat"]
    assert captions(tmp_path / "out", "eval/forget") == ["another cat"]
    assert captions(tmp_path / "out", "train/retain") == ["a dog, asleep"]
    assert captions(tmp_path / "out", "eval/retain") == ["a dog awake"]
    assert json.loads((tmp_path / "out" / "classes.json").read_text()) == ["cat", "dog"]


def test_an_image_is_forgotten_if_any_caption_matches(photos, tmp_path):
    rows = cats_and_dogs()
    rows.append({"image": "15.png", "caption": "No dog at all but a CAT"})
    rows.append({"image": "0.png", "caption": "an animal"})
    build_folder(tmp_path / "out", table=write_jsonl(photos, rows), forget_regex=r"\bcat\b")
    out = tmp_path / "out"
    forgotten = captions(out, "train/forget") + captions(out, "eval/forget")
    assert len(forgotten) == 11
    assert {"a dog number 15", "No dog at all but a CAT", "an animal"} < set(forgotten)


def test_thirty_percent_of_each_set_are_held_out_by_image(photos, tmp_path):
    rows = [row | {"caption": f"{row['caption']} {k}"} for row in cats_and_dogs() for k in "ab"]
    summary = build_folder(tmp_path / "out", table=write_jsonl(photos, rows), forget_regex="cat")
    assert summary.samples == {
        "train/forget": 12,
        "eval/forget": 4,
        "train/retain": 16,
        "eval/retain": 8,
    }
    train = {caption[:-2] for caption in captions(tmp_path / "out", "train/retain")}
    held_out = {caption[:-2] for caption in captions(tmp_path / "out", "eval/retain")}
    assert not train & held_out


def test_split_depends_on_the_seed_only(photos, tmp_path):
    table = write_jsonl(photos, cats_and_dogs())
    moved = tmp_path / "elsewhere"
    photos.rename(moved)
    build_folder(tmp_path / "a", table=moved / table.name, forget_regex="cat")
    moved.rename(photos)
    build_folder(tmp_path / "b", table=table, forget_regex="cat")
    build_folder(tmp_path / "c", table=table, forget_regex="cat", seed=1)
    name = "eval/retain"
    assert captions(tmp_path / "a", name) == captions(tmp_path / "b", name)
    assert captions(tmp_path / "a", name) != captions(tmp_path / "c", name)


def test_equal_files_under_two_names_cannot_be_in_both_sets(photos, tmp_path):
    (photos / "19.png").write_bytes((photos / "0.png").read_bytes())
    table = write_jsonl(photos, cats_and_dogs())
    summary = build_folder(tmp_path / "out", table=table, forget_regex="cat")
    assert summary.dropped_from_retain == 1


def test_images_may_lie_elsewhere(photos, tmp_path):
    table = write_jsonl(photos, cats_and_dogs()).rename(tmp_path / "t.jsonl")
    build_folder(tmp_path / "out", table=table, images=photos, forget_regex="cat")
    assert len(captions(tmp_path / "out", "train/retain")) == 8


HEADER = "image,caption,split,set,label"
GOOD = "0.png,a cat,train,forget,cat"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            [HEADER, GOOD, "9.png,a dog,train,retan,dog"],
            "{t}, line 3, set: is 'retan'. Write forget or retain, or leave it empty.",
        ),
        (
            [HEADER, "0.png,a cat,test,forget,cat"],
            "{t}, line 2, split: is 'test'. Write train or eval, or leave it empty.",
        ),
        ([HEADER, "0.png,,train,forget,cat"], "{t}, line 2, caption: is empty. Fill it in."),
        ([HEADER, ",a cat,train,forget,cat"], "{t}, line 2, image: is empty. Fill it in."),
        (
            [HEADER, "0.png,a cat,train,,cat"],
            "{t}, line 2, set: is empty. Write forget or retain, or use --forget-regex.",
        ),
        (
            [HEADER, GOOD, "1.png,a cat,train,forget,"],
            "{t}, line 3, label: is empty. Give every row a label, or none.",
        ),
        (
            [HEADER, GOOD, "0.png,a cat again,eval,forget,cat"],
            "{t}, line 3, split: is eval, but line 2 says train for the same image 0.png. "
            "Give all rows of an image the same.",
        ),
        (
            [HEADER, GOOD, "0.png,no cat,train,retain,cat"],
            "{t}, line 3, set: is retain, but line 2 says forget for the same image 0.png. "
            "Give all rows of an image the same.",
        ),
        (
            ["image,capton", "0.png,a cat"],
            "{t}, line 2: has no caption (its fields: image, capton). Did you mean capton? "
            "Call the column caption.",
        ),
        (
            ["image,caption", "0.png,a cat, asleep"],
            "{t}, line 2: has more fields than the header (image, caption). "
            "Quote captions that contain commas.",
        ),
        ([HEADER], "{t}: holds no rows. Add a line for each image and caption."),
        (
            [HEADER, GOOD],
            "{out}: the eval/forget set would be empty. Forget fewer pairs, or mark some as "
            "forget and some as retain in both splits.",
        ),
    ],
)
def test_mistakes_in_the_table_are_named(photos, tmp_path, lines, message):
    table, out = write_csv(photos, *lines), tmp_path / "out"
    with pytest.raises(UserError) as caught:
        build_folder(out, table=table)
    assert str(caught.value) == message.format(t=table, out=out)
    assert not out.exists()


def test_missing_image(photos, tmp_path):
    (photos / "3.png").unlink()
    table = write_jsonl(photos, cats_and_dogs())
    with pytest.raises(UserError) as caught:
        build_folder(tmp_path / "out", table=table, forget_regex="cat")
    assert str(caught.value) == (
        f"{table}, line 4, image: {photos / '3.png'} cannot be read (No such file or directory). "
        "Mend the path."
    )
    assert not (tmp_path / "out").exists()


def test_truncated_image(photos, tmp_path):
    (photos / "3.png").write_bytes((photos / "3.png").read_bytes()[:150])
    table = write_jsonl(photos, cats_and_dogs())
    with pytest.raises(UserError, match=r"line 4, image: .*3\.png is not a readable image"):
        build_folder(tmp_path / "out", table=table, forget_regex="cat")


def test_image_of_another_format(photos, tmp_path):
    Image.open(photos / "3.png").save(photos / "3.png", "BMP")
    table = write_jsonl(photos, cats_and_dogs())
    with pytest.raises(UserError, match=r"3\.png is BMP. Convert it to JPEG, PNG, WEBP"):
        build_folder(tmp_path / "out", table=table, forget_regex="cat")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{oops", "line 2: is not JSON"),
        ("[1]", "line 2: is not a JSON object"),
        ('{"image": "1.png"}', r"line 2: has no caption \(its fields: image\)"),
    ],
)
def test_bad_json_lines(photos, tmp_path, line, message):
    table = photos / "captions.jsonl"
    table.write_text(json.dumps(cats_and_dogs()[0]) + "\n" + line + "\n")
    with pytest.raises(UserError, match=message):
        build_folder(tmp_path / "out", table=table, forget_regex="cat")


def test_regex_and_set_column_contradict(photos, tmp_path):
    table = write_csv(photos, HEADER, GOOD)
    with pytest.raises(UserError, match="line 2, set: is 'forget', and --forget-regex is given"):
        build_folder(tmp_path / "out", table=table, forget_regex="cat")


def test_bad_regex(photos, tmp_path):
    table = write_jsonl(photos, cats_and_dogs())
    with pytest.raises(UserError, match=r"--forget-regex: '\(cat' is no pattern"):
        build_folder(tmp_path / "out", table=table, forget_regex="(cat")


def test_table_of_another_kind(tmp_path):
    with pytest.raises(UserError, match=r"captions\.xlsx: is neither \.csv nor \.jsonl"):
        build_folder(tmp_path / "out", table=tmp_path / "captions.xlsx")
    with pytest.raises(UserError, match=r"captions\.csv: does not exist"):
        build_folder(tmp_path / "out", table=tmp_path / "captions.csv")
