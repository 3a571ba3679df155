"""`dist-erase data verify`: finds what training would find, goes on after a kill."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import webdataset
import yaml
from PIL import Image
from support.commands import gone_within, start, stop_when
from support.erasing import members
from support.tiny import new_model

from dist_erase.batch import ImageSpec, Quarantined
from dist_erase.data.build.digits import build_digits
from dist_erase.data.captions import CaptionPlan
from dist_erase.data.counting import summarise
from dist_erase.data.source import SourceSettings, make_source
from dist_erase.data.verify import UNREADABLE, Verification, verify_shards
from dist_erase.orchestration.data_verify import size_of_images
from dist_erase.orchestration.sets import choose_sets

TINY = str(Path(__file__).parents[2] / "configs" / "models" / "tiny.json")


@pytest.fixture
def run(command_line):
    """`dist-erase data verify`: exit code, stdout, stderr."""
    return partial(command_line, "data", "verify")


@pytest.fixture
def config(dirty_digits, tmp_path) -> Path:
    """A run over dirty shards."""
    sets = {"forget": "forget-*.tar", "retain": "retain-*.tar"}
    tree = {
        "run": {"dir": "runs"},
        "data": {
            **{name: {"shards": f"{dirty_digits}/train/{p}"} for name, p in sets.items()},
            "eval": {name: {"shards": f"{dirty_digits}/eval/{p}"} for name, p in sets.items()},
        },
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def lines(path: Path) -> list[Quarantined]:
    return [Quarantined(**json.loads(line)) for line in path.read_text().splitlines()]


def spoilt(dirty_digits: Path) -> dict[tuple[str, str], str]:
    """What the fixture spoilt: shard and key → reason, in training's order of looking."""
    found = {}
    for shard in sorted((dirty_digits / "train").glob("*.tar")):
        if shard.name == "retain-000000.tar":
            continue  # cut off
        for key in {name.partition(".")[0] for name in members(shard)}:
            if int(key) % 7 == 0:
                found[str(shard), key] = "image"
            if int(key) % 11 == 0:
                found[str(shard), key] = "caption"
    return found


def test_deep_finds_every_unusable_sample(run, config, dirty_digits):
    code, printed, said = run(str(config), "--deep", "--quarantine", "bad.jsonl")
    assert code == 2
    bad = lines(Path("bad.jsonl"))
    cut = str(dirty_digits / "train" / "retain-000000.tar")
    found = {(one.shard, one.key): one.reason for one in bad if one.shard != cut}
    assert found == spoilt(dirty_digits)
    assert {one.stream for one in bad} == {"forget", "retain"}
    keys = list(dict.fromkeys(name.partition(".")[0] for name in members(Path(bad[0].shard))))
    assert keys[bad[0].index] == bad[0].key
    # Of the shard that is cut off, sizes.json says how many samples there were.
    lost = [one for one in bad if one.shard == cut]
    assert (lost[0].index, lost[0].reason) == (-1, "shard")
    assert len([one for one in lost if one.reason == "truncated"]) > 30
    assert {one.index for one in lost if one.reason == "truncated"} >= set(range(20, 50))
    retain = [one for one in bad if one.stream == "retain" and one.index >= 0]
    assert f"data.retain: {len(retain)} of 1,132 samples" in said
    assert "1 shard as a whole" in said
    assert "bad.jsonl" in said
    for set_name in ("data.forget", "data.retain", "data.eval.forget", "data.eval.retain"):
        assert set_name in printed


def test_the_fraction_it_names_is_the_one_that_suffices(run, config):
    said = run(str(config), "--deep")[2]
    named = float(said.partition("data.max_corrupt_fraction to ")[2].split()[0])
    said = run(str(config), "--deep", f"data.max_corrupt_fraction={named}")[2]
    assert "data.max_corrupt_fraction already lets training replace them." in said
    said = run(str(config), "--deep", f"data.max_corrupt_fraction={named * 0.98}")[2]
    assert f"data.max_corrupt_fraction to {named:g} or more" in said


def test_without_deep_images_are_not_decoded(run, config):
    run(str(config), "--quarantine", "bad.jsonl")
    assert {one.reason for one in lines(Path("bad.jsonl"))} == {
        "caption",
        "structure",  # the file ends between two members of a sample
        "truncated",
        "shard",
    }


def test_sound_sets_are_said_to_be_sound(run, tmp_path):
    build_digits(tmp_path / "digits", shard_size=300)
    code, printed, said = run("digits/*/*.tar", "--deep", "--quarantine", "bad.jsonl")
    assert (code, said) == (0, "")
    assert "1,797" in printed
    assert Path("bad.jsonl").read_text() == ""
    assert not list(Path("runs/.index").glob("*.deep.json"))


def test_held_out_sets_must_be_whole(run, config, dirty_digits, tmp_path):
    own = tmp_path / "eval"
    shutil.copytree(dirty_digits / "eval", own)
    shard = sorted(own.glob("forget-*.tar"))[0]
    os.truncate(shard, shard.stat().st_size // 2)
    override = f"data.eval.forget.shards={own}/forget-*.tar"
    said = run(str(config), override, "data.max_corrupt_fraction=0.5")[2]
    assert "data.eval.forget: 1 of " in said
    assert "already lets training replace them" in said
    assert "Sets of data.eval are read in full, so they must be sound." in said


def test_a_wrong_side_file_is_a_fault(run, tmp_path):
    build_digits(tmp_path / "digits", shard_size=300)
    (tmp_path / "digits/eval/sizes.json").write_text('{"forget-000000.tar": 53}')
    code, _, said = run("digits/eval/*.tar", "--quarantine", "bad.jsonl")
    assert code == 2
    (one,) = lines(Path("bad.jsonl"))
    assert (one.reason, one.index) == ("shard", -1)
    assert "holds 27 samples, but " in one.detail
    assert "1 shard as a whole" in said


def test_long_thin_images_are_too_large_once_resized(tmp_path, run):
    thin, wide = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (1, 65_000)).save(thin, "PNG")  # 224 x 14,560,000 where training resizes it
    Image.new("RGB", (400, 300)).save(wide, "PNG")
    with webdataset.TarWriter(str(tmp_path / "a.tar"), mtime=0) as writer:
        for key, image in (("thin", thin), ("wide", wide)):
            writer.write({"__key__": key, "png": image.getvalue(), "txt": "a line"})
    out = tmp_path / "bad.jsonl"
    assert run(str(tmp_path / "a.tar"), "--quarantine", str(out))[0] == 0  # not decoded
    code, _, said = run(str(tmp_path / "a.tar"), "--deep", "--quarantine", str(out))
    assert code == 2
    (one,) = lines(out)
    assert (one.key, one.reason) == ("thin", "too_large")
    assert "would be resized to 224 x 14560000" in one.detail
    assert "too_large 1" in said


def test_the_size_that_images_are_brought_to_is_the_models(config, tmp_path):
    tree = yaml.safe_load(config.read_text())
    tree["model"] = {"architecture": TINY, "pretrained": f"local-dir:{tmp_path}/not-trained-yet"}
    assert size_of_images(choose_sets([str(config)])).height == 224  # of ViT-B-32
    config.write_text(yaml.safe_dump(tree))
    unknown = choose_sets([str(config)])
    assert size_of_images(unknown) == size_of_images(replace(unknown, model=None))
    tree["model"]["pretrained"] = f"local-dir:{new_model(TINY, tmp_path / 'model')}"
    config.write_text(yaml.safe_dump(tree))
    expected = json.loads(Path(TINY).read_text())["vision_cfg"]["image_size"]
    assert size_of_images(choose_sets([str(config)])).height == expected != 224


def test_a_failed_read_is_no_bad_content_and_is_tried_again(tmp_path):
    build_digits(tmp_path / "digits", shard_size=60)
    shards = [str(path) for path in sorted((tmp_path / "digits/eval").glob("*.tar"))]
    source = make_source(SourceSettings())
    summaries = summarise(shards, source, folder=tmp_path / "index")
    how = Verification(
        stream="eval",
        captions=CaptionPlan(),
        deep=True,
        image=ImageSpec(height=32, width=32, mean=(0.0,) * 3, std=(1.0,) * 3),
        max_pixels=10**8,
        settings=SourceSettings(),
        folder=tmp_path / "index",
    )
    gone = Path(shards[1])
    gone.rename(gone.with_suffix(".away"))
    verdicts = verify_shards(summaries, how, workers=1)
    assert [verdict.is_known for verdict in verdicts] == [True, False] + [True] * (len(shards) - 2)
    (entry,) = verdicts[1].bad
    assert (entry.reason, entry.index) == (UNREADABLE, -1)
    gone.with_suffix(".away").rename(gone)
    assert all(verdict.bad == () for verdict in verify_shards(summaries, how, workers=1))


@pytest.mark.operations
def test_a_killed_verification_goes_on_where_it_was(tmp_path):
    build_digits(tmp_path / "digits", shard_size=60)
    many = tmp_path / "many"
    many.mkdir()
    shards = sorted((tmp_path / "digits/train").glob("retain-*.tar"))
    for number in range(40):
        shutil.copy(shards[number % len(shards)], many / f"{number:03}.tar")
    index = tmp_path / "runs" / ".index"
    command = ["data", "verify", "many/*.tar", "--deep", "--workers", "2"]
    process = start(*command, folder=tmp_path)
    children = stop_when(process, lambda: len(list(index.glob("*.deep.json"))) >= 5, signal.SIGKILL)
    process.communicate(timeout=30)
    assert gone_within(children, 20)
    done = len(list(index.glob("*.deep.json")))
    assert 5 <= done < 35
    # Shards are read in order: the first had its verdict, the last had not.
    spoil_unseen(many / "000.tar")
    spoil_unseen(many / "039.tar")
    again = start(*command, "--quarantine", "bad.jsonl", folder=tmp_path)
    again.communicate(timeout=200)
    assert again.returncode == 2
    assert {Path(one.shard).name for one in lines(tmp_path / "bad.jsonl")} == {"039.tar"}
    # It was finished, so the next one reads everything.
    once_more = start(*command, "--quarantine", "bad.jsonl", folder=tmp_path)
    once_more.communicate(timeout=200)
    names = {Path(one.shard).name for one in lines(tmp_path / "bad.jsonl")}
    assert names == {"000.tar", "039.tar"}


def spoil_unseen(shard: Path) -> None:
    """Zeroes an image, with size and time of change as they were."""
    status = shard.stat()
    data = bytearray(shard.read_bytes())
    image = next(content for name, content in members(shard).items() if name.endswith("jpg"))
    start_of_image = data.index(image)
    data[start_of_image : start_of_image + len(image)] = bytes(len(image))
    shard.write_bytes(data)
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_class_captions_need_a_configuration(run, tmp_path):
    build_digits(tmp_path / "digits", shard_size=300)
    code, _, said = run("digits/eval/*.tar", "--caption", "cls")
    assert code == 2
    assert said.startswith("error: --caption: is cls, which needs class names.")
