"""Index, verify, a run and its replay over signed URLs and S3; no signature is left anywhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer
from support.erasing import erase_on_ranks
from support.tiny import new_model
from support.web import Web, web_server

from dist_erase.config.run import RunConfig
from dist_erase.data.build.digits import build_digits
from dist_erase.orchestration.replay import replay

pytestmark = pytest.mark.integration  # the run starts DeepSpeed
TINY = str(Path(__file__).parents[2] / "configs" / "models" / "tiny.json")
SECRET = "hush0f1e2d3c"
SETS = {"forget": "forget-{000000..000001}.tar", "retain": "retain-{000000..000003}.tar"}
STEPS = 3


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("remote") / "digits"
    build_digits(out, shard_size=300)
    return out


@pytest.fixture(scope="module")
def web(digits) -> Iterator[Web]:
    """Serves the shards to those who have the signature."""
    with web_server() as server:
        for path in digits.rglob("*.tar"):
            server.files[f"/{path.relative_to(digits)}"] = path.read_bytes()
        server.signature = SECRET
        yield server


@pytest.fixture
def signed(web) -> Iterator[Web]:
    """The server, which asks for signatures again after the test."""
    yield web
    web.signature = SECRET


def tree(url: str, query: str, runs: Path, digits: Path, model: Path) -> dict[str, Any]:
    def shards(place: str, pattern: str) -> dict[str, str]:
        return {"shards": f"{url}/{place}/{pattern}{query}"}

    held_out = {"forget": "forget-{000000..000001}.tar", "retain": "retain-{000000..000001}.tar"}
    return {
        "run": {"name": "remote", "dir": str(runs)},
        "model": {"architecture": TINY, "pretrained": f"local-dir:{model}"},
        "data": {
            **{name: shards("train", pattern) for name, pattern in SETS.items()},
            "eval": {name: shards("eval", pattern) for name, pattern in held_out.items()},
            "classes": f"{digits}/classes.json",
            "workers": 1,
            "read": {"retries": 0, "timeout_seconds": 10},
        },
        "train": {
            "forget_batch": 8,
            "retain_batch": 16,
            "max_steps": STEPS,
            "lr": 1e-3,
            "precision": "fp32",
        },
        "objective": {"forget": {"floor": "none"}},
        "teacher": {"kind": "local", "dtype": "fp32"},
        "observe": {"grace_seconds": 0},
    }


@pytest.fixture(scope="module")
def configured(web, digits, tmp_path_factory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("signed")
    model = new_model(TINY, home / "original")
    query = f"?X-Amz-Expires=60&X-Amz-Signature={SECRET}"
    return tree(web.url, query, home / "runs", digits, model)


@pytest.fixture(scope="module")
def erased(configured) -> Path:
    return erase_on_ranks(RunConfig.model_validate(configured), 1)


@pytest.fixture
def config(configured, tmp_path) -> Path:
    path = tmp_path / "run.yaml"
    own = configured | {"run": {"name": "remote", "dir": str(tmp_path / "runs")}}
    path.write_text(yaml.safe_dump(own))
    return path


def holding(folder: Path, text: str = SECRET) -> list[str]:
    """Files below a folder that hold the text, and names that do."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(p) for p in files if text.encode() in p.read_bytes() or text in p.name]


def test_a_run_over_signed_urls_leaves_no_signature(erased):
    assert (erased / "model" / "open_clip_model.safetensors").exists()
    assert "retain-{000000..000003}.tar" in (erased / "config.json").read_text()
    assert holding(erased.parent) == []  # the index beside it included


def test_its_steps_are_replayed_where_no_signature_is_needed(erased, signed):
    signed.signature = None
    assert [replay(erased, step).verdict for step in (1, STEPS)] == ["identical"] * 2


def test_a_replay_without_the_signature_is_refused_with_the_reason(erased, command_line):
    code, _, said = command_line("replay", str(erased), "--step", "1")
    assert code == 2
    assert "HTTP 403" in said
    assert SECRET not in said


def test_index_and_verify_over_signed_urls(config, command_line, tmp_path):
    code, printed, said = command_line("data", "index", str(config), "--json")
    assert (code, said) == (0, "")
    counted = {one["name"]: one["samples"] for one in json.loads(printed)["sets"]}
    assert counted["data.forget"] == 125
    assert counted["data.retain"] == 1132
    table = ["data", "verify", str(config), "--deep", "--quarantine", str(tmp_path / "bad.jsonl")]
    code, printed, said = command_line(*table)
    assert (code, said) == (0, "")
    config.unlink()  # the only place where the signature stands
    assert SECRET not in printed
    assert holding(tmp_path) == []


def test_an_index_is_found_again_when_the_urls_are_signed_anew(config, command_line, signed):
    index = partial(command_line, "data", "index", str(config), "--json")
    assert index()[0] == 0
    before = len(signed.requests)
    config.write_text(config.read_text().replace(SECRET, f"{SECRET}-anew"))
    code, printed, _ = index()
    assert code == 0
    # Each shard is asked whether it is there and has changed, and none is read.
    reads = [ranged for _, _, ranged in signed.requests[before:] if ranged != "bytes=0-0"]
    assert reads == []
    assert {name for one in json.loads(printed)["sets"] for name in one["changed"]} == set()


def test_faults_of_signed_shards_are_told_without_the_signature(
    config, command_line, tmp_path, signed
):
    name = "/train/retain-000001.tar"
    whole = signed.files[name]
    signed.files[name] = whole[: len(whole) // 2]
    try:
        code, printed, said = command_line("data", "index", str(config))
        assert code == 2
        assert "retain-000001.tar" in said
        bad = tmp_path / "bad.jsonl"
        verify = ["data", "verify", str(config), "--quarantine", str(bad)]
        assert command_line(*verify)[0] == 2
        assert "retain-000001.tar" in bad.read_text()
    finally:
        signed.files[name] = whole
    config.unlink()
    assert SECRET not in printed + said
    assert holding(tmp_path) == []


def test_patterns_on_the_command_line_are_shown_without_signature(web, command_line):
    pattern = f"{web.url}/train/{SETS['forget']}?sig={SECRET}"
    code, printed, said = command_line("data", "index", pattern, "--json")
    assert (code, said) == (0, "")
    assert SECRET not in printed


@pytest.fixture
def store(digits, monkeypatch) -> Iterator[str]:
    """The shards in a real S3 endpoint."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket="digits")
    for path in digits.rglob("*.tar"):
        key = str(path.relative_to(digits))
        client.put_object(Bucket="digits", Key=key, Body=path.read_bytes())
    yield f"http://{host}:{port}"
    server.stop()


def test_the_same_over_s3(erased, web, store, configured, command_line, tmp_path):
    folder = tmp_path / "runs" / "remote"
    shutil.copytree(erased, folder)
    stored = json.loads((folder / "config.json").read_text().replace(web.url, "s3://digits"))
    stored["config"]["data"]["storage"] = {"s3": {"endpoint_url": store}}
    (folder / "config.json").write_text(json.dumps(stored))
    assert replay(folder, 2).verdict == "identical"
    (tmp_path / "s3.yaml").write_text(yaml.safe_dump(stored["config"]))
    code, printed, said = command_line("data", "index", str(tmp_path / "s3.yaml"), "--json")
    assert (code, said) == (0, "")
    assert {one["samples"] for one in json.loads(printed)["sets"]} >= {125, 1132}
    code, _, said = command_line("data", "verify", str(tmp_path / "s3.yaml"))
    assert (code, said) == (0, "")
    assert holding(tmp_path) == []
