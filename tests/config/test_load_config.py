"""Files, overrides, presets, and where each value comes from."""

from pathlib import Path

import pytest

from dist_erase.config.load import load_config
from dist_erase.config.run import PretrainConfig, RunConfig
from dist_erase.errors import UserError

DATA = """
data:
  forget: {shards: "train/forget-*.tar"}
  retain: {shards: ["train/retain-*.tar"]}
  eval:
    forget: {shards: "eval/forget-*.tar"}
    retain: {shards: "eval/retain-*.tar"}
"""


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(DATA)
    return path


def write(file: Path, text: str) -> Path:
    file.write_text(DATA + text)
    return file


def error_of(path: Path, *overrides: str, kind=RunConfig) -> str:
    with pytest.raises(UserError) as caught:
        load_config(path, overrides, kind)
    return str(caught.value)


def test_file_then_overrides_then_defaults(file):
    write(file, "train: {lr: 1e-5, epochs: 2}\nseed: 3\n")
    loaded = load_config(file, ["train.lr=3e-4", "run.name=x"], RunConfig)
    assert loaded.config.train.lr == 3e-4
    assert loaded.config.train.epochs == 2
    assert loaded.config.seed == 3
    assert loaded.config.run.name == "x"
    assert loaded.origins["train.lr"] == "command line"
    assert loaded.origins["run.name"] == "command line"
    assert loaded.origins["train.epochs"] == str(file)
    assert loaded.origins["data.retain.shards"] == str(file)
    assert loaded.origins["train.betas"] == "default"
    assert loaded.origins["data.forget.caption"] == "default"


def test_yaml_1_1_traps(file):
    write(
        file,
        "train: {lr: 1e-5}\nteacher: {cache: {mode: off}}\n"
        "objective: {consistency: {on: retain}}\ndeepspeed: {a: {b: 1e-3}}\n",
    )
    config = load_config(file, [], RunConfig).config
    assert config.train.lr == 1e-5
    assert config.teacher.cache.mode == "off"
    assert config.objective.consistency.on == "retain"
    assert config.deepspeed == {"a": {"b": 1e-3}}


def test_preset_fills_what_neither_file_nor_command_line_sets(file):
    write(file, "objective: {forget: {side: both}, retain: {weight: 2}}\n")
    overrides = ["objective.preset=paper", "objective.consistency.anchor=0.5"]
    loaded = load_config(file, overrides, RunConfig)
    objective = loaded.config.objective
    assert (objective.forget.floor, objective.forget.side) == ("none", "both")
    assert (objective.retain.weight, objective.retain.soft_targets) == (2, False)
    assert objective.consistency.anchor == 0.5
    origins = {k.removeprefix("objective."): v for k, v in loaded.origins.items()}
    assert origins["preset"] == "command line"
    assert origins["forget.floor"] == "preset paper"
    assert origins["forget.side"] == str(file)
    assert origins["retain.soft_targets"] == "preset paper"
    assert origins["consistency.anchor"] == "command line"
    assert origins["forget.weight"] == "default"


def test_a_preset_on_the_command_line_replaces_the_files(file):
    write(file, "objective: {preset: mse_zero}\n")
    loaded = load_config(file, ["objective.preset=default"], RunConfig)
    assert loaded.config.objective == load_config(write(file, ""), [], RunConfig).config.objective


def test_override_of_a_mapping_replaces_it_and_below_a_mapping_adds(file):
    write(file, "ray: {resources_per_worker: {CPU: 2}}\n")
    added = load_config(file, ["ray.resources_per_worker.GPU=1"], RunConfig)
    assert added.config.ray.resources_per_worker == {"CPU": 2, "GPU": 1}
    assert added.origins["ray.resources_per_worker.CPU"] == str(file)
    assert added.origins["ray.resources_per_worker.GPU"] == "command line"
    replaced = load_config(file, ["ray.resources_per_worker={GPU: 1}"], RunConfig)
    assert replaced.config.ray.resources_per_worker == {"GPU": 1}
    assert "ray.resources_per_worker.CPU" not in replaced.origins


def test_override_below_null_and_of_null(file):
    write(file, "train: {max_steps: 5}\n")
    overrides = ["train.max_steps=", "data.eval.untouched.photos.shards=x.tar"]
    config = load_config(file, overrides, RunConfig).config
    assert config.train.max_steps is None
    assert config.data.eval.untouched["photos"].shards == "x.tar"


def test_values_may_contain_equals_signs_and_braces(file):
    config = load_config(file, ["data.forget.shards=a=b/{00..03}.tar"], RunConfig).config
    assert config.data.forget.shards == "a=b/{00..03}.tar"


def test_pretrain_configuration(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("model: {architecture: m.json}\ndata: {train: {shards: a}, eval: {shards: b}}")
    loaded = load_config(path, ["train.batch=64"], PretrainConfig)
    assert loaded.config.train.batch == 64
    assert loaded.origins["run.name"] == "default"


def test_unknown_key_names_the_nearest(file):
    assert error_of(file, "train.leraning_rate=1", "train.lrr=1").splitlines()[1:-1] == [
        "  train.leraning_rate (command line): is not a key. The keys there are: "
        + ", ".join(type(load_config(file, [], RunConfig).config.train).model_fields)
        + ".",
        "  train.lrr (command line): is not a key. Did you mean train.lr?",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lr=1", "lr (command line): is not a key. Did you mean train.lr?"),
        ("data.evl=1", "data.evl (command line): is not a key. Did you mean data.eval?"),
        (
            "data.eval.holdout_identity={shards: a, captions: txt}",
            "data.eval.holdout_identity.captions (command line): is not a key. "
            "Did you mean data.eval.holdout_identity.caption?",
        ),
        ("train.lr=0", "train.lr (command line): must be greater than 0, not 0."),
        ("train.lr=fast", "train.lr (command line): must be a valid number, not 'fast'."),
        ("train.zero_stage=4", "train.zero_stage (command line): must be 0, 1, 2 or 3, not 4."),
        (
            "data.streams=many",
            "data.streams (command line): must be 'auto' or a valid integer, not 'many'.",
        ),
        ("teacher.cache.mode=on", "teacher.cache.mode (command line): must be 'off', not 'on'."),
        (
            "data.forget=x.tar",
            "data.forget (command line): must hold keys: shards, caption, templates, weights, "
            "max_shards, max_samples.",
        ),
        (
            "data.forget.caption=text",
            "data.forget.caption (command line): caption is 'text'; "
            "write txt, txt:lines, cls or json:KEY.",
        ),
        (
            "data.eval.untouched.photos.caption=txt",
            "data.eval.untouched.photos.shards ({file}): is needed and not given.",
        ),
        ("seed", "seed: is not an override. Write key.sub=value, for instance train.lr=1e-5."),
        ("=1", "=1: is not an override."),
        ("train..lr=1", "train..lr=1: is not an override."),
        ("seed={", "seed: has a value that is not YAML:"),
    ],
)
def test_one_error_is_one_line(file, override, message):
    text = error_of(file, override)
    assert text.startswith(message.replace("{file}", str(file)))
    assert "\n" not in text


def test_override_below_a_value(file):
    write(file, "seed: 3\n")
    assert error_of(file, "seed.x=1") == (
        "seed.x: goes below seed, which is 3 and holds no keys. Mend the key."
    )


def test_all_errors_stand_in_one_message(file):
    write(file, "train: {lr: -1, epoch: 2}\n")
    assert error_of(file, "ray.workers=0").splitlines() == [
        "configuration: has 3 errors:",
        f"  train.lr ({file}): must be greater than 0, not -1.",
        f"  train.epoch ({file}): is not a key. Did you mean train.epochs?",
        "  ray.workers (command line): must be greater than or equal to 1, not 0.",
        " `dist-erase config --schema` lists every key.",
    ]


def test_rules_across_sections(file):
    text = error_of(file, "stop.forget_top1_below=0.1")
    assert "stop.forget_top1_below is set but evaluate.every_steps is null" in text


def test_missing_file_names_the_nearest(file):
    wrong = file.with_name("rum.yaml")
    assert error_of(wrong) == (
        f"{wrong}: does not exist. Did you mean {file}? Name a YAML file, for instance one in "
        "configs/."
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nseed: 2\n", "is not valid YAML: the key 'seed' stands twice (lines 1 and 2)"),
        ("a: [1\n", "is not valid YAML: expected ',' or ']'"),
        ("- 1\n", "holds no keys."),
    ],
)
def test_malformed_file(file, text, message):
    file.write_text(text)
    assert error_of(file).startswith(f"{file}: {message}")


def test_empty_file(file):
    file.write_text("")
    assert error_of(file).startswith(f"data ({file}): is needed and not given.")


def test_file_that_is_not_text(file):
    file.write_bytes(b"\xff\xfe\x00")
    assert error_of(file).startswith(f"{file}: cannot be read (")
    assert error_of(file.parent).startswith(f"{file.parent}: cannot be read (")


def test_configuration_of_the_other_command(file):
    assert error_of(file, kind=PretrainConfig) == (
        f"{file}: is a configuration for `dist-erase run`. Use it with that."
    )
