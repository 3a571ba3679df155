"""`dist-erase config`."""

import json
import sys

import pytest
import yaml

from dist_erase.cli.app import main

FILE = """
data: {forget: {shards: a}, retain: {shards: b}, eval: {forget: {shards: c}, retain: {shards: d}}}
"""


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(FILE)

    def go(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dist-erase", "config", *args])
        with pytest.raises(SystemExit) as caught:
            main()
        return (caught.value.code or 0, *capsys.readouterr())

    return go


def test_resolved_view_goes_to_stdout(run):
    code, out, err = run("run.yaml", "objective.preset=paper", "train.lr=1e-6")
    assert (code, err) == (0, "")
    assert yaml.safe_load(out)["train"]["lr"] == 1e-6
    assert any(
        line.split() == ["floor:", "none", "#", "preset", "paper"] for line in out.splitlines()
    )


def test_schema_of_both_kinds(run):
    code, out, _ = run("--schema")
    assert code == 0
    assert "objective" in json.loads(out)["properties"]
    code, out, _ = run("--schema", "--kind", "pretrain")
    assert code == 0
    assert "objective" not in json.loads(out)["properties"]


def test_errors_are_messages(run):
    assert run("run.yaml", "train.lrr=1") == (
        2,
        "",
        "error: train.lrr (command line): is not a key. Did you mean train.lr? "
        "`dist-erase config --schema` lists every key.\n",
    )
    assert run() == (
        2,
        "",
        "error: CONFIG: is not given. Name a YAML file, or ask for --schema.\n",
    )
