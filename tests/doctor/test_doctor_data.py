"""Checks of shards, index and model files."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
from support.web import web_server

from dist_erase.config.run import RunConfig
from dist_erase.data.source import LocalSource
from dist_erase.data.summaries import ShardSummary, keep_summaries
from dist_erase.orchestration.doctor.needs import checkpoint_bytes, stored_parameters
from dist_erase.orchestration.doctor.node import machine_checks
from dist_erase.orchestration.doctor.ray_address import check_address
from dist_erase.orchestration.doctor.row import rows_of
from dist_erase.orchestration.doctor.shards import shard_checks
from dist_erase.orchestration.doctor.weights import check_classes, check_model_files
from dist_erase.orchestration.run_folder import INDEX


def keep_index(config: RunConfig, shards: Path) -> None:
    """As `data index` leaves it."""
    paths = sorted(str(path) for path in shards.glob("*.tar"))
    stats = {path: LocalSource().stat(path) for path in paths}
    summaries = [
        ShardSummary(path=p, size=s.size, version=s.version, count=2, origin="headers", members={})
        for p, s in stats.items()
    ]
    keep_summaries(Path(config.run.dir) / INDEX, paths, summaries)


def rows_by_set(config: RunConfig, *, copies: bool = False) -> dict[str, list]:
    found: dict[str, list] = {}
    for row in rows_of(shard_checks(config, copies=copies)):
        found.setdefault(row.check, []).append(row)
    return found


def test_shards_as_they_were_indexed(config, shards):
    row = rows_by_set(config)["data.forget"][0]
    assert (row.state, "not indexed yet" in row.found) == ("warn", True)
    keep_index(config, shards)
    found = rows_by_set(config)
    assert list(found) == ["data.forget", "data.retain", "data.eval.forget", "data.eval.retain"]
    assert found["data.forget"][0].state == "ok"
    assert "3 of 3 shards read, as they were indexed (6 samples)" in found["data.forget"][0].found


def test_an_index_that_no_longer_fits(config, shards):
    keep_index(config, shards)
    os.utime(shards / "001.tar", (0, 0))
    row = rows_by_set(config)["data.retain"][0]
    assert row.state == "warn"
    assert f"1 of them have changed since they were indexed, first {shards}/001.tar" in row.found
    assert row.mend.endswith("dist-erase data index CONFIG")
    # On another node the time says nothing, the size does.
    assert rows_by_set(config, copies=True)["data.retain"][0].state == "ok"
    os.truncate(shards / "001.tar", 4096)
    row = rows_by_set(config, copies=True)["data.retain"][0]
    assert (row.state, row.mend) == ("fail", "Copy the same files to every node.")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it has only 0 bytes"),
        (b"no tar at all" * 100, "it is no tar file"),
        (bytes(10240), "it is empty"),
    ],
)
def test_files_that_are_no_shards(config, shards, content, said):
    (shards / "002.tar").write_bytes(content)
    row = rows_by_set(config)["data.forget"][0]
    assert row.state == "fail"
    assert f"1 of 3 of 3 shards cannot be read, first {shards}/002.tar: {said}" in row.found


def test_shards_that_are_not_there(tree):
    tree["data"]["forget"] = {"shards": "/nowhere/{0..3}.tar"}
    row = rows_by_set(RunConfig.model_validate(tree))["data.forget"][0]
    assert row.state == "fail"
    assert "data.forget.shards: no shard matches `/nowhere/0.tar`" in row.found


def test_remote_shards_without_their_signature(tree, shards):
    with web_server() as web:
        web.files |= {f"/{path.name}": path.read_bytes() for path in shards.glob("*.tar")}
        signed = f"{web.url}/{{000..002}}.tar?sig=hush"
        tree["data"]["forget"] = {"shards": signed}
        config = RunConfig.model_validate(tree)
        row = rows_by_set(config)["data.forget"][0]
        assert row.state == "warn"  # readable, not indexed
        web.always = "403"
        row = rows_by_set(config)["data.forget"][0]
    assert row.state == "fail"
    assert "the server refuses access (HTTP 403)" in row.found
    assert "hush" not in row.found
    gone = rows_by_set(config)["data.forget"][0]
    assert gone.state == "fail"
    assert "3 of 3 of 3 shards cannot be read" in gone.found


def test_only_some_of_many_shards_are_looked_at(tree, tmp_path, shards):
    for number in range(3, 40):
        (shards / f"{number:03d}.tar").write_bytes((shards / "000.tar").read_bytes())
    (shards / "039.tar").write_bytes(b"")  # the last is among them
    config = RunConfig.model_validate(tree)
    row = rows_by_set(config)["data.forget"][0]
    assert "1 of 8 of 40 shards cannot be read" in row.found


def weights(folder: Path, shape: list[int]) -> Path:
    folder.mkdir()
    (folder / "open_clip_config.json").write_text("{}")
    header = {"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}, "__metadata__": {}}
    text = json.dumps(header).encode()
    path = folder / "open_clip_model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    return path


def test_the_size_of_a_model_by_its_header(tree, tmp_path):
    file = weights(tmp_path / "model", [1000, 30])
    tree["model"]["pretrained"] = f"local-dir:{tmp_path}/model"
    config = RunConfig.model_validate(tree)
    assert stored_parameters(config) == 30_000
    assert checkpoint_bytes(config, 30_000) == 360_000
    assert [row.state for row in check_model_files(config)] == ["ok"]
    file.write_bytes(file.read_bytes()[:20])
    (row,) = check_model_files(config)
    assert (row.state, "it cannot be read" in row.found) == ("fail", True)
    file.unlink()
    (row,) = check_model_files(config)
    assert (row.state, row.found.endswith("it holds no weights")) == ("fail", True)


def test_model_files_that_are_not_there(tree, tmp_path):
    tree["model"] = {"architecture": "gone.json", "pretrained": f"local-dir:{tmp_path}/gone"}
    tree["data"]["classes"] = str(tmp_path / "gone.json")
    config = RunConfig.model_validate(tree)
    rows = [*check_model_files(config), *check_classes(config)]
    assert [row.check for row in rows] == ["model.architecture", "model weights", "data.classes"]
    assert {row.state for row in rows} == {"fail"}


def test_nobody_at_the_address_of_the_cluster(tree, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = RunConfig.model_validate(tree)
    assert [row.state for row in check_address(config, None)] == ["ok"]  # local
    (row,) = check_address(config, "127.0.0.1:1")
    assert (row.state, "nobody answers at 127.0.0.1:1" in row.found) == ("fail", True)
    (row,) = check_address(config, "somewhere")
    assert (row.state, row.found) == ("fail", "somewhere is no address HOST:PORT")


def test_the_checks_of_a_machine_need_no_configuration(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    rows = list(rows_of(machine_checks(None)))
    assert {row.check for row in rows} >= {"versions", "file limit", "run.dir", "temporary files"}
    assert [row for row in rows if "cannot be looked at" in row.found] == []
    assert list(tmp_path.iterdir()) == []
