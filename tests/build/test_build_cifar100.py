"""CIFAR-100 from small files in the layouts of its two distributors."""

import hashlib
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image
from torchvision.datasets import CIFAR100

from dist_erase.data.build.cifar100 import build_cifar100
from dist_erase.errors import UserError

FINE = ["apple", "bear", "maple_tree", "rocket"]
COARSE = ["fruit", "animals", "trees", "vehicles_2"]


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write_parquet(path: Path, seeds: list[int], labels: list[int]) -> None:
    images = [{"bytes": png(seed), "path": f"{seed}.png"} for seed in seeds]
    pq.write_table(pa.table({"img": images, "fine_label": labels, "coarse_label": labels}), path)


@pytest.fixture
def source(tmp_path) -> Path:
    folder = tmp_path / "cifar"
    folder.mkdir()
    write_parquet(folder / "train-00000-of-00002.parquet", list(range(0, 8)), [0, 1, 2, 3] * 2)
    write_parquet(folder / "train-00001-of-00002.parquet", list(range(8, 16)), [0, 1, 2, 3] * 2)
    write_parquet(folder / "test-00000-of-00001.parquet", list(range(100, 108)), [0, 1, 2, 3] * 2)
    (folder / "classes.json").write_text(json.dumps({"fine": FINE, "coarse": COARSE}))
    return folder


def read_set(folder: Path, name: str) -> list[dict]:
    shards = [str(path) for path in sorted(folder.glob(f"{name}-*.tar"))]
    return list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False))


def test_png_bytes_are_kept_and_labelled(source, tmp_path):
    summary = build_cifar100(tmp_path / "out", source=source, forget=["maple_tree"])
    assert summary.samples == {
        "train/forget": 4,
        "eval/forget": 2,
        "train/retain": 12,
        "eval/retain": 6,
    }
    for sample in read_set(tmp_path / "out", "train/forget"):
        facts = json.loads(sample["json"])
        assert sample["png"] == png(facts["index"])
        assert facts["sha256"] == hashlib.sha256(sample["png"]).hexdigest()
        assert (facts["label"], facts["coarse_label"], facts["coarse_name"]) == (2, 2, "trees")
        assert "maple tree" in sample["txt"].decode()
    names = json.loads((tmp_path / "out" / "classes.json").read_text())
    assert names == ["apple", "bear", "maple tree", "rocket"]


@pytest.mark.parametrize("seed", range(5))
def test_larger_forget_sets_of_one_seed_contain_the_smaller_ones(source, tmp_path, seed):
    chosen = [
        build_cifar100(
            tmp_path / str(count), source=source, forget=["rocket"], forget_count=count, seed=seed
        ).options["forget"]
        for count in (1, 2, 3)
    ]
    assert [len(names) for names in chosen] == [1, 2, 3]
    assert chosen[0] == ["rocket"]
    assert chosen[2][:2] == chosen[1]


@pytest.mark.parametrize("count", [1, 4])
def test_forget_count_out_of_range(source, tmp_path, count):
    with pytest.raises(UserError) as caught:
        build_cifar100(
            tmp_path / "out", source=source, forget=["apple", "bear"], forget_count=count
        )
    assert str(caught.value) == (
        f"--forget-count: is {count}, with 2 classes named and 4 in all. Use 2 to 3."
    )


def test_a_retain_image_that_is_also_forgotten_is_dropped(source, tmp_path):
    # 0 and 4 are training apples; here they are also a bear in train and a rocket in test.
    write_parquet(source / "train-00001-of-00002.parquet", [0, 9, 10, 11], [1, 1, 2, 3])
    write_parquet(source / "test-00000-of-00001.parquet", [100, 101, 4, 102, 9], [0, 1, 3, 3, 2])
    summary = build_cifar100(tmp_path / "out", source=source, forget=["apple"])
    assert summary.dropped_from_retain == 2
    assert summary.train_images_in_eval == 1
    assert summary.samples["train/retain"] == 9
    assert summary.samples["eval/retain"] == 3
    forgotten = {png(0), png(4)}
    for name in ("train/retain", "eval/retain"):
        assert not forgotten & {sample["png"] for sample in read_set(tmp_path / "out", name)}


def test_torchvision_folder_gives_the_same_pixels(tmp_path, monkeypatch):
    folder = tmp_path / "root" / "cifar-100-python"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 3072), dtype=np.uint8)
    content = {
        "train": {"data": pixels, "fine_labels": [0, 1, 2, 3] * 2},
        "test": {"data": pixels[::-1].copy(), "fine_labels": [0, 1, 2, 3] * 2},
        "meta": {"fine_label_names": FINE},
    }
    sums = {}
    for name, value in content.items():
        (folder / name).write_bytes(pickle.dumps(value))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR100, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": sums["meta"]})
    build_cifar100(tmp_path / "out", source=tmp_path / "root", forget=["apple"])
    for sample in read_set(tmp_path / "out", "train/forget"):
        written = np.asarray(Image.open(io.BytesIO(sample["png"])))
        index = json.loads(sample["json"])["index"]
        np.testing.assert_array_equal(written, pixels[index].reshape(3, 32, 32).transpose(1, 2, 0))


def test_pickles_with_another_checksum_are_never_opened(tmp_path):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test", "meta"):
        (folder / name).write_bytes(b"not what torchvision expects")
    with pytest.raises(UserError, match="was refused by torchvision"):
        build_cifar100(tmp_path / "out", source=tmp_path)
    assert not (tmp_path / "out").exists()


def test_source_without_the_files(tmp_path):
    with pytest.raises(UserError, match=r"holds no CIFAR-100\. Name the folder that holds train-"):
        build_cifar100(tmp_path / "out", source=tmp_path)
    with pytest.raises(UserError, match=r"does not exist\. Name the folder that holds train-"):
        build_cifar100(tmp_path / "out", source=tmp_path / "nowhere")


def test_source_without_the_test_file(source, tmp_path):
    (source / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(UserError, match=r"holds no test-\*.parquet"):
        build_cifar100(tmp_path / "out", source=source)


def test_source_without_class_names(source, tmp_path):
    (source / "classes.json").unlink()
    with pytest.raises(UserError, match=r"has no class names\. Add a classes.json"):
        build_cifar100(tmp_path / "out", source=source)


def test_broken_parquet(source, tmp_path):
    path = source / "train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"train-00001-of-00002\.parquet: cannot be read"):
        build_cifar100(tmp_path / "out", source=source)
    assert not (tmp_path / "out").exists()


def test_row_with_an_unknown_label(source, tmp_path):
    path = source / "train-00001-of-00002.parquet"
    write_parquet(path, [1, 2], [3, 17])
    with pytest.raises(UserError, match=r"row 1: has the fine_label 17, with 4 class names"):
        build_cifar100(tmp_path / "out", source=source)
