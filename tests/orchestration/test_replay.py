"""A replayed batch is the batch that the run trained on, dirt included."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.erasing import change_shard, members
from support.runs import steps

from dist_erase.cli.app import main
from dist_erase.errors import UserError
from dist_erase.orchestration.replay import refuse_difference, replay
from dist_erase.orchestration.replay_sheet import known_sheets, write_sheet

pytestmark = pytest.mark.integration  # the run starts DeepSpeed on two ranks


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """The command line: exit code, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "200")

    def go(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dist-erase", "replay", *args])
        with pytest.raises(SystemExit) as caught:
            main()
        return (caught.value.code or 0, *capsys.readouterr())

    return go


@pytest.fixture
def own_digits(copy_of_run, dirty_digits) -> Path:
    """The data set of `copy_of_run` as a copy, for tests that change it; indexed as it is."""
    out = copy_of_run.parents[1] / "digits"
    shutil.copytree(dirty_digits, out)
    stored = copy_of_run / "config.json"
    stored.write_text(stored.read_text().replace(str(dirty_digits), str(out)))
    assert replay(copy_of_run, 1).verdict == "identical"
    return out


def test_every_step_is_made_again(erased):
    recorded = steps(erased)
    assert len({row["batch"] for row in recorded.values()}) == 12
    for step, row in recorded.items():
        replayed = replay(erased, step)
        assert (replayed.digest, replayed.verdict) == (row["batch"], "identical")
        refuse_difference(replayed)


def test_places_show_the_samples_and_what_they_stand_in_for(erased):
    lines = [json.loads(line) for line in (erased / "quarantine.jsonl").read_text().splitlines()]
    assert {line["reason"] for line in lines} == {"image", "caption", "overlap", "truncated"}
    shards: dict[str, dict[str, bytes]] = {}
    replaced = 0
    for step in range(1, 13):
        met = {(x["shard"], x["index"]): x["reason"] for x in lines if x["step"] == step}
        places = replay(erased, step).places
        assert [p.stream for p in places] == ["forget"] * 8 + ["retain"] * 16
        for place in places:
            content = shards.setdefault(place.shard, members(Path(place.shard)))
            assert content[f"{place.key}.txt"].decode() == place.caption
            keys = list(dict.fromkeys(name.partition(".")[0] for name in content))
            assert keys[place.index] == place.key
            if place.instead_of is not None:
                bad = place.instead_of
                assert met[bad.shard, bad.index] == bad.reason
                replaced += 1
    assert replaced > len(lines) / 2  # the rest stood in for another for a moment


def test_a_sheet_holds_what_the_student_saw(erased, tmp_path, run):
    out = tmp_path / "sheet"
    code, printed, _ = run(str(erased), "--step", "3", "--out", str(out), "--json")
    assert code == 0
    facts = json.loads((out / "batch.json").read_text())
    assert facts["verdict"] == json.loads(printed)["verdict"] == "identical"
    images = replay(erased, 3).images
    assert images.shape == (24, 32, 32, 3)
    for pair, pixels in zip(facts["pairs"], images, strict=True):
        assert np.array_equal(np.asarray(Image.open(out / pair["image"])), pixels)
    page = (out / "index.html").read_text()
    assert page.count("<img ") == 24
    assert "instead of" in page
    assert out in known_sheets(erased)
    # Again is fine, but nothing of somebody else's is lost.
    assert run(str(erased), "--step", "4", "--out", str(out))[0] == 0
    (out / "mine.txt").write_text("mine")
    code, _, said = run(str(erased), "--step", "4", "--out", str(out))
    assert code == 2
    assert "holds something else (mine.txt)" in said
    shutil.rmtree(out)
    (erased / "sheets.jsonl").unlink()


def test_the_table_says_what_stands_where(erased, run):
    code, printed, _ = run(str(erased), "--step", "2")
    assert code == 0
    rows = [line for line in printed.splitlines() if "forget" in line or "retain" in line]
    assert len(rows) >= 24
    digest = steps(erased)[2]["batch"]
    assert printed.endswith(f"digest {digest}, recorded {digest}: identical\n")


def test_a_step_that_was_not_recorded_is_made_all_the_same(copy_of_run, run):
    log = copy_of_run / "metrics.jsonl"
    kept = [x for x in log.read_text().splitlines() if json.loads(x)["step"] < 12]
    log.write_text("\n".join(kept) + "\n")
    code, printed, _ = run(str(copy_of_run), "--step", "12")
    assert code == 0
    assert printed.endswith(": not recorded\n")
    code, _, said = run(str(copy_of_run), "--step", "13")
    assert (code, said) == (2, "error: --step: is 13. Choose a step from 1 to 12.\n")


def test_other_content_of_the_same_size_is_told(copy_of_run, own_digits, run):
    for shard in (own_digits / "train").glob("*.tar"):
        change_shard(shard, lambda name, data: data[::-1] if name.endswith("txt") else data)
    code, printed, said = run(str(copy_of_run), "--step", "5")
    assert code == 2
    assert printed.endswith(": DIFFERENT\n")
    assert "not the one that the run trained on" in said
    assert f"{own_digits}/train/forget-000000.tar: written again since it was indexed" in said


def test_a_shard_written_after_the_step_is_told(copy_of_run, own_digits, run):
    first = replay(copy_of_run, 5).places[0]
    change_shard(Path(first.shard), lambda name, data: data[::-1] if name.endswith("txt") else data)
    shutil.rmtree(copy_of_run.parent / ".index")  # nothing is left of how the shard was
    code, _, said = run(str(copy_of_run), "--step", "5")
    assert code == 2
    assert f"{first.shard}: written at " in said


def test_shards_of_other_sizes_are_told(copy_of_run, own_digits, run):
    for shard in (own_digits / "train").glob("retain-*.tar"):
        os.truncate(shard, shard.stat().st_size // 2)
    code, _, said = run(str(copy_of_run), "--step", "5")
    assert code == 2
    assert "cannot be made again" in said
    assert "bytes when it was indexed" in said
    assert "more shards" in said
    shutil.rmtree(copy_of_run.parent / ".index")
    said = run(str(copy_of_run), "--step", "5")[2]
    assert "the retain set is another than the run's last checkpoint says." in said


def test_what_is_no_run_is_refused(tmp_path, run):
    code, _, said = run(str(tmp_path), "--step", "1")
    assert code == 2
    assert said.startswith(f"error: {tmp_path}: is no run folder (config.json is missing).")
    (tmp_path / "config.json").write_text('{"config": {"data": {}, "run": {}}}')
    code, _, said = run(str(tmp_path), "--step", "1")
    assert code == 2
    assert "is no configuration of this version" in said


def test_a_sheet_needs_a_run_folder_that_remembers_it(erased, tmp_path):
    replayed = replay(erased, 1)
    with pytest.raises(UserError, match="cannot be written"):
        write_sheet(replayed, tmp_path / "gone", tmp_path / "sheet")
    assert not (tmp_path / "sheet").exists()
