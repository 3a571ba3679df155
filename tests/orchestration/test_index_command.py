"""`dist-erase data index`: counts before a run, goes on after a kill, all faults in one message."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path

import pytest
import yaml
from support.commands import gone_within, start, stop_when
from support.erasing import change_shard

from dist_erase.config.load import load_config
from dist_erase.config.run import RunConfig
from dist_erase.data.build.digits import build_digits
from dist_erase.data.summaries import kept_summaries
from dist_erase.orchestration.paths import absolute
from dist_erase.orchestration.run_folder import index_cache
from dist_erase.training.data_plan import plan_run


@pytest.fixture
def run(command_line):
    """`dist-erase data index`: exit code, stdout, stderr."""
    return partial(command_line, "data", "index")


@pytest.fixture
def digits(tmp_path) -> Path:
    build_digits(tmp_path / "digits", shard_size=100)
    return tmp_path / "digits"


@pytest.fixture
def config(digits, tmp_path) -> Path:
    """A run over the digits, with relative paths."""
    sets = {"forget": "forget-*.tar", "retain": "retain-*.tar"}
    tree = {
        "run": {"dir": "runs"},
        "data": {
            **{name: {"shards": f"digits/train/{p}"} for name, p in sets.items()},
            "eval": {name: {"shards": f"digits/eval/{p}"} for name, p in sets.items()},
        },
        "train": {"forget_batch": 8, "retain_batch": 16},
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def facts(printed: str) -> dict[str, dict]:
    return {one["name"]: one for one in json.loads(printed)["sets"]}


def test_the_sets_of_a_run_are_counted(run, config):
    code, printed, said = run(str(config), "--json")
    assert (code, said) == (0, "")
    found = facts(printed)
    assert list(found) == ["data.forget", "data.retain", "data.eval.forget", "data.eval.retain"]
    assert [one["samples"] for one in found.values()] == [125, 1132, 54, 486]
    assert found["data.retain"]["shards"] == 12
    assert found["data.retain"]["counted_by"] == {"headers": 12}
    table = run(str(config))[1]
    assert "1,132" in table
    assert "headers (12)" in table


def test_a_run_finds_the_index_where_it_looks(run, config):
    run(str(config))
    loaded = absolute(load_config(config, [], RunConfig).config)
    kept = {path: path.stat().st_ino for path in index_cache(loaded).iterdir()}
    assert kept
    plan_run(loaded, index_cache(loaded), look_for_overlap=True)
    after = {path: path.stat().st_ino for path in index_cache(loaded).iterdir()}
    assert {path: after[path] for path in kept} == kept  # nothing was walked over again
    run(str(config), "--index-dir", "other")
    assert len(list(Path("other").glob("*.npz"))) == 21


def test_patterns_are_sets_of_their_own(run, digits):
    code, printed, _ = run("digits/train/*.tar", "digits/eval/forget-*.tar", "--json")
    assert code == 0
    assert [one["samples"] for one in facts(printed).values()] == [1257, 54]
    assert Path("runs/.index").is_dir()


def test_side_files_are_used_unless_headers_are_asked_for(run, digits):
    shards = sorted((digits / "eval").glob("retain-*.tar"))
    counts = {shard.name: 100 for shard in shards}  # the last holds 86
    (digits / "eval" / "sizes.json").write_text(json.dumps(counts))
    (digits / "eval" / f"{shards[0].stem}.idx").write_text("v1.2 100\n")
    (digits / "eval" / f"{shards[1].stem}_stats.json").write_text('{"successes": 100}')
    pattern = "digits/eval/retain-*.tar"
    code, printed, _ = run(pattern, "--json")
    (found,) = facts(printed).values()
    assert code == 0
    assert found["counted_by"] == {"idx": 1, "stats.json": 1, "sizes.json": 3}
    assert found["samples"] == 500
    assert not list(Path("runs/.index").glob("*.npz"))

    (digits / "eval" / f"{shards[2].stem}_stats.json").write_text("{}")
    code, printed, said = run(pattern, "--headers", "--json")
    assert code == 2
    (found,) = facts(printed).values()
    assert (found["samples"], found["counted_by"]) == (486, {"headers": 5})
    assert len(found["wrong_side_files"]) == 2
    assert "2 side files are wrong:" in said
    assert f"sizes.json: says 100 samples, {shards[4]} holds 86." in said
    assert f"{shards[2].stem}_stats.json: is no index of samples" in said
    # From now on the headers' counts are the ones that hold.
    assert facts(run(pattern, "--json")[1])[pattern]["samples"] == 486


def test_changed_shards_are_noticed(run, digits, caplog):
    pattern = "digits/train/retain-*.tar"
    run(pattern)
    shard = digits / "train" / "retain-000003.tar"
    change_shard(shard, lambda name, data: None if name < "0001" else data)
    code, printed, _ = run(pattern, "--json")
    assert code == 0
    found = facts(printed)[pattern]
    assert found["changed"] == [str(shard)]
    assert found["samples"] < 1132
    assert str(shard) in caplog.text
    assert facts(run(pattern, "--json")[1])[pattern]["changed"] == []


def test_all_faulty_shards_are_named_at_once(run, config, digits):
    cut, empty, text, no_caption = sorted((digits / "train").glob("retain-*.tar"))[:4]
    os.truncate(cut, 100_000)
    empty.write_bytes(b"")
    text.write_text("not a tar" * 200)
    change_shard(no_caption, lambda name, data: None if name.endswith(".txt") else data)
    code, printed, said = run(str(config), "--json")
    assert code == 2
    assert len(facts(printed)["data.retain"]["faults"]) == 4
    assert "4 shards are faulty:" in said
    for shard in (cut, empty, text, no_caption):
        assert str(shard) in said
    assert "data.max_corrupt_fraction" in said
    # Training would go on without them, evaluation would not.
    code, printed, said = run(str(config), "data.max_corrupt_fraction=0.5", "--json")
    assert (code, said) == (0, "")
    assert len(facts(printed)["data.retain"]["faults"]) == 4
    os.truncate(digits / "eval" / "forget-000000.tar", 100_000)
    code, _, said = run(str(config), "data.max_corrupt_fraction=0.5")
    assert code == 2
    assert "1 shard is faulty:" in said


def test_a_long_list_of_faults_is_cut(run, tmp_path):
    for number in range(30):
        (tmp_path / f"{number:02}.tar").write_bytes(b"")
    _, _, said = run("*.tar")
    assert said.count(".tar: ") == 20
    assert "… and 10 more; --json lists all." in said


@pytest.mark.operations
def test_a_killed_indexing_goes_on_where_it_was(digits, tmp_path):
    # Links, so that there is something to do and hardly anything to write.
    many = tmp_path / "many"
    many.mkdir()
    shard = digits / "train" / "retain-000000.tar"
    for number in range(100):
        os.link(shard, many / f"{number:03}.tar")
    index = tmp_path / "runs" / ".index"

    def scans() -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in index.glob("[0-9a-f]*.npz")}

    process = start("data", "index", "many/*.tar", "--workers", "2", folder=tmp_path)
    children = stop_when(process, lambda: len(scans()) >= 20, signal.SIGKILL)
    process.communicate(timeout=30)  # a worker that lives on would keep the pipe open
    assert gone_within(children, 20)
    done = scans()
    assert 20 <= len(done) < 100
    again = start("data", "index", "many/*.tar", "--workers", "2", "--json", folder=tmp_path)
    printed, said = again.communicate(timeout=120)
    assert (again.returncode, said) == (0, "")
    assert facts(printed)["many/*.tar"]["samples"] == 100 * 100
    after = scans()
    assert len(after) == 100
    assert {name: after[name] for name in done} == done  # walking writes a new file


def test_ctrl_c_ends_indexing_at_once(digits, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    for number in range(200):
        os.link(digits / "train" / "retain-000000.tar", many / f"{number:03}.tar")
    index = tmp_path / "runs" / ".index"
    process = start("data", "index", "many/*.tar", "--workers", "2", folder=tmp_path)
    children = stop_when(process, lambda: len(list(index.glob("*.npz"))) >= 5, signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert gone_within(children, 20)
    assert len(list(index.glob("*.npz"))) < 200


def test_mistakes_are_messages(run, config):
    assert run() == (
        2,
        "",
        "error: CONFIG: is not given. Name a run's YAML file, or patterns of shards in quotes.\n",
    )
    assert run("none/*.tar")[2].startswith("error: none/*.tar.shards: no shard matches")
    assert run("x.tar", "--caption", "text")[2].startswith("error: --caption: is 'text'.")
    assert run(str(config), "--caption", "txt")[2] == (
        "error: --caption: is given with a configuration. Set it there.\n"
    )
    assert run("pipe:cat x.tar")[2].startswith("error: PATTERN: pipe: runs a command")
    assert run(str(config), "data.retain.shardz=1")[2].startswith("error: data.retain.shardz")


def test_a_pretraining_configuration_has_its_own_sets(run, digits, tmp_path):
    tree = {
        "model": {"architecture": "ViT-B-32"},
        "data": {
            "train": {"shards": "digits/train/*.tar", "max_shards": 3},
            "eval": {"shards": "digits/eval/*.tar"},
        },
    }
    (tmp_path / "pretrain.yaml").write_text(yaml.safe_dump(tree))
    found = facts(run("pretrain.yaml", "--json")[1])
    assert {name: one["shards"] for name, one in found.items()} == {
        "data.train": 3,
        "data.eval": 7,
    }
    shards = [str(path) for path in sorted((digits / "eval").glob("*.tar"))]
    assert len(kept_summaries(tmp_path / "runs" / ".index", shards)) == 7
