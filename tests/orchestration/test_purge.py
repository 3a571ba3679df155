"""What derives from forget pairs is gone, the record of the run is not."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from support.erasing import members
from support.runs import tree

from dist_erase.cli.app import main
from dist_erase.config.run import RunConfig
from dist_erase.data.source.block_cache import BlockCache
from dist_erase.data.summaries import cache_name
from dist_erase.orchestration.purge import RECORD
from dist_erase.orchestration.replay import replay
from dist_erase.orchestration.replay_sheet import write_sheet
from dist_erase.orchestration.report_names import hashed
from dist_erase.orchestration.run_folder import alone
from dist_erase.orchestration.stored_run import stored_config

pytestmark = pytest.mark.integration  # the run starts DeepSpeed on two ranks


@pytest.fixture
def run(monkeypatch, capsys):
    """The command line: exit code, stdout, stderr."""

    def go(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dist-erase", "purge", *args])
        with pytest.raises(SystemExit) as caught:
            main()
        return (caught.value.code or 0, *capsys.readouterr())

    return go


@pytest.fixture
def forget_names(dirty_digits) -> set[str]:
    """Keys of all forget pairs, as they may stand in files."""
    shards = (dirty_digits / "train").glob("forget-*.tar")
    return {name.partition(".")[0] for shard in shards for name in members(shard)}


@pytest.fixture
def told(copy_of_run, tmp_path) -> Path:
    """The run with everything that a purge has to do with: sheets, a report, an error."""
    write_sheet(replay(copy_of_run, 2), copy_of_run, copy_of_run / "replay" / "step-2")
    write_sheet(replay(copy_of_run, 3), copy_of_run, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "mine.txt").write_text("mine")
    places = replay(copy_of_run, 1).places
    unread = [f"{place.shard}/{place.key}" for place in places if place.stream == "forget"]
    kept = next(f"{place.shard}/{place.key}" for place in places if place.stream == "retain")
    report = {
        "forget_never_read": unread,
        "overlap": {"count": 1, "examples": [[unread[0], kept]], "method": "by hash"},
        "seed": 0,
    }
    (copy_of_run / "report.json").write_text(json.dumps(report))
    (copy_of_run / "report.html").write_text(f"<p>8 were not read: {unread[0]}, …</p>")
    error = [places[0].shard, f"sample {places[0].key} is unusable", "Mend it."]
    (copy_of_run / "user_error.json").write_text(json.dumps(error))
    end = {"exit_code": 2, "message": ": ".join(error), "time": 1.5}
    (copy_of_run / "end.json").write_text(json.dumps(end))
    failure = {"rank": 1, "error": f"{places[0].shard}: gone", "exit_code": 2}
    (copy_of_run / "rank_failure.json").write_text(json.dumps(failure))
    logs = copy_of_run / "ray" / "short"
    logs.mkdir(parents=True)
    (logs / "error.txt").write_text(f"UserError: {unread[1]}")
    (logs / "other.txt").write_text("nothing")
    return copy_of_run


def named_in(path: Path, names: set[str]) -> list[str]:
    """Names that stand in a file, not as digits of a number or of a shard's name."""
    found = set(re.findall(r"(?<![\d.-])\d{6}(?!\d)", path.read_text()))
    return sorted(found & names)


def test_nothing_of_a_forget_pair_is_left(told, run, forget_names, dirty_digits, tmp_path):
    assert named_in(told / "report.json", forget_names)
    before = tree(told.parent)
    lines = (told / "quarantine.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    going = [x for x in rows if x["stream"] == "forget" or x["reason"] == "overlap"]
    assert going
    assert len(going) < len(rows)
    code, printed, _ = run(str(told), "--yes")
    assert code == 0
    assert "Not deleted by this command:\n  the model and the checkpoints" in printed

    files = [path for path in told.parent.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix == ".png"]
    for path in files:
        if path.suffix not in {".safetensors", ".npz"}:
            assert not named_in(path, forget_names), path
    scans = {cache_name(str(p)) for p in (dirty_digits / "train").glob("forget-*.tar")}
    assert not [path for path in files if path.stem in scans]
    kept = [json.loads(line) for line in (told / "quarantine.jsonl").read_text().splitlines()]
    assert kept == [row for row in rows if row not in going]
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["mine.txt"]
    assert not (told / "replay" / "step-2").exists()
    end = json.loads((told / "end.json").read_text())
    assert end["message"] == "ended by something that you can mend; its own output says what"
    assert (end["exit_code"], end["time"]) == (2, 1.5)
    assert not (told / "rank_failure.json").exists()

    after = tree(told.parent)
    record = ("metrics.jsonl", "config.json", "model/open_clip_model.safetensors", "attempts")
    assert all(after[f"short/{name}"] == before[f"short/{name}"] for name in record)
    assert after["short/ray/short/other.txt"] == b"nothing"


def test_the_record_says_how_much_went_and_no_name(told, run, forget_names):
    report = json.loads((told / "report.json").read_text())
    run(str(told), "--yes")
    record = json.loads((told / RECORD).read_text())
    (entry,) = record["purges"]
    assert entry["started"] <= entry["finished"]
    unread, (pair,) = report["forget_never_read"], report["overlap"]["examples"]
    assert entry["names_replaced"] == len({*unread, *pair})
    deleted = {one["what"]: one for one in entry["deleted"]}
    assert deleted["images and contact sheets of replayed steps"]["files"] == 2 * 26 + 1
    assert all(one["bytes"] > 0 for one in deleted.values())
    assert sum(entry["quarantine_lines"].values()) > 0
    assert not named_in(told / RECORD, forget_names)
    hidden = json.loads((told / "report.json").read_text())
    assert hidden["forget_never_read"] == [hashed(name) for name in unread]
    assert hidden["overlap"]["examples"] == [[hashed(name) for name in pair]]
    assert hashed(unread[0]) in (told / "report.html").read_text()
    digests = entry["reports_sha256"]["report.json"]
    assert digests["before"] != digests["after"]


def test_again_there_is_nothing_to_do(told, run):
    run(str(told), "--yes")
    before = tree(told)
    code, printed, _ = run(str(told), "--yes")
    assert code == 0
    assert printed.startswith("nothing that derives from forget pairs is left\n")
    assert tree(told) == before


def test_a_purged_run_can_be_replayed_and_purged_again(told, run):
    run(str(told), "--yes")
    assert replay(told, 4).verdict == "identical"  # the shards are still there
    run(str(told), "--yes")
    assert len(json.loads((told / RECORD).read_text())["purges"]) == 2


def test_a_dry_run_lists_and_changes_nothing(told, run):
    before = tree(told.parent)
    code, printed, _ = run(str(told), "--dry-run")
    assert code == 0
    assert f"  {told}/replay/step-2/index.html\n" in printed
    assert "lines of quarantine.jsonl: " in printed
    assert "names of samples that become hashes in report.json, report.html: " in printed
    assert tree(told.parent) == before


def test_scans_go_even_if_the_shards_are_gone(told, run, dirty_digits, tmp_path):
    stored = told / "config.json"
    gone = tmp_path / "gone"
    shutil.copytree(dirty_digits, gone)
    stored.write_text(stored.read_text().replace(str(dirty_digits), str(gone)))
    assert replay(told, 1).verdict == "identical"
    shutil.rmtree(gone)
    index = told.parent / ".index"
    before = set(index.iterdir())
    run(str(told), "--yes")
    # Three forget shards and their set of this copy; the run's own are another data set's now.
    went = before - set(index.iterdir())
    assert sorted(path.name[:4] for path in went if path.name.startswith("set-")) == ["set-"]
    assert len(went) == 4


def test_cached_blocks_of_remote_forget_shards_go(told, run, tmp_path):
    stored = json.loads((told / "config.json").read_text())
    data = stored["config"]["data"]
    data["forget"]["shards"] = "https://example.invalid/forget-{000..001}.tar"
    data["block_cache"]["dir"] = str(tmp_path / "blocks")
    (told / "config.json").write_text(json.dumps(stored))
    cache = BlockCache(str(tmp_path / "blocks"), 10**6)
    for shard in ("forget-000", "forget-001", "retain-000"):
        cache.put(f"https://example.invalid/{shard}.tar", "v1", 0, 9, b"x" * 9)
    printed = run(str(told), "--dry-run")[1]
    assert f"blocks in {tmp_path}/blocks: 2 files, 26 bytes" in printed
    run(str(told), "--yes")
    held = [
        shard
        for shard in ("forget-000", "forget-001", "retain-000")
        if cache.get(f"https://example.invalid/{shard}.tar", "v1", 0, 9) is not None
    ]
    assert held == ["retain-000"]
    record = json.loads((told / RECORD).read_text())["purges"][0]
    assert record["cached_blocks"] == {"blocks": 2, "bytes": 26}


def test_a_run_at_work_is_left_alone(told, run):
    config = stored_config(told)
    assert isinstance(config, RunConfig)
    before = tree(told)
    with alone(config):
        code, _, said = run(str(told), "--yes")
    assert code == 2
    assert "another process is at work on the run short" in said
    assert tree(told) == before


def test_nobody_to_ask_is_an_error(told, run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", open("/dev/null"))  # noqa: SIM115  (as under a scheduler)
    code, _, said = run(str(told))
    assert code == 2
    assert said.startswith("error: --yes: is not given, and nobody can be asked.")


def test_a_pretraining_run_is_refused(tmp_path, run):
    config = {
        "model": {"architecture": "ViT-B-32"},
        "data": {"train": {"shards": "a.tar"}, "eval": {"shards": "b.tar"}},
        "run": {},
    }
    (tmp_path / "config.json").write_text(json.dumps({"config": config}))
    code, _, said = run(str(tmp_path), "--yes")
    assert code == 2
    assert "is a pretraining run, which has no forget pairs" in said
