"""The resolved view, the schema and the hash."""

import json
from pathlib import Path

import pytest

from dist_erase.config.explain import config_hash, resolved, schema
from dist_erase.config.load import load_config
from dist_erase.config.run import PretrainConfig, RunConfig


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(
        "data: {forget: {shards: a}, retain: {shards: b},"
        " eval: {forget: {shards: c}, retain: {shards: d}}}\n"
    )
    return path


def test_resolved_view_loads_back_to_the_same(file, tmp_path):
    overrides = [
        "objective.preset=paper",
        "data.eval.untouched.odd.shards=['x # y', 'z: 1']",
        "data.forget.templates=['a {}, really: \"quoted\"', 'über {}']",
        "deepspeed.zero_optimization.offload=off",
        "train.lr=1e-8",
    ]
    loaded = load_config(file, overrides, RunConfig)
    text = resolved(loaded.config, loaded.origins)
    (tmp_path / "again.yaml").write_text(text)
    assert load_config(tmp_path / "again.yaml", [], RunConfig).config == loaded.config


def test_each_value_says_where_it_comes_from(file):
    loaded = load_config(file, ["objective.preset=paper"], RunConfig)
    lines = resolved(loaded.config, loaded.origins).splitlines()
    comments = {
        line.split("#")[0].strip(): line.split("#")[1].strip() for line in lines if "#" in line
    }
    assert comments["shards: a"] == str(file)
    assert comments["preset: paper"] == "command line"
    assert comments["soft_targets: false"] == "preset paper"
    assert comments["seed: 0"] == "default"
    assert len({line.index("#") for line in lines if "#" in line}) == 1
    assert {line.strip() for line in lines if "#" not in line} >= {"data:", "objective:"}


def test_schema_describes_every_root_key():
    for kind in (RunConfig, PretrainConfig):
        assert set(json.loads(schema(kind))["properties"]) == set(kind.model_fields)


def test_hash_depends_on_values_and_not_on_their_origin(file, tmp_path):
    plain = load_config(file, [], RunConfig).config
    spelt = load_config(file, ["seed=0", "train.lr=0.00001"], RunConfig).config
    other = load_config(file, ["seed=1"], RunConfig).config
    assert config_hash(plain) == config_hash(spelt)
    assert config_hash(plain) != config_hash(other)
    assert len(config_hash(plain)) == 64
