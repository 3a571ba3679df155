"""Signatures and passwords: what is refused, and what is left of them in what is written down."""

import pytest
import yaml
from pydantic import ValidationError

from dist_erase.config.explain import config_hash, resolved
from dist_erase.config.load import load_config
from dist_erase.config.run import ObserveConfig, RunConfig
from dist_erase.config.secrets import recorded, unsigned
from dist_erase.errors import UserError

SIGNED = "https://store/a-{000..003}.tar?versionId=3&X-Amz-Signature=hush&X-Amz-Expires=60"


@pytest.mark.parametrize(
    ("url", "left"),
    [
        (SIGNED, "https://store/a-{000..003}.tar?versionId=3"),
        ("https://acct.blob/a.tar?sv=1&sr=b&sig=hush&se=2027", "https://acct.blob/a.tar"),
        ("gs://b/a.tar?access_token=hush", "gs://b/a.tar"),
        ("https://h/a.tar?%73ig=hush", "https://h/a.tar"),
        ("https://h/a.tar?api_key=hush&x=1", "https://h/a.tar?x=1"),
        ("https://h/a.tar?versionId=3", "https://h/a.tar?versionId=3"),
        ("s3://b/a-?.tar", "s3://b/a-?.tar"),
        ("/data/a?sig=1.tar", "/data/a?sig=1.tar"),
        ("pipe:cat a?sig=1", "pipe:cat a?sig=1"),
    ],
)
def test_signatures_go_and_the_rest_stays(url, left):
    assert unsigned(url) == left
    assert unsigned(left) == left
    assert recorded({"a": [url, 1], "b": {"c": (url, None)}}) == {
        "a": [left, 1],
        "b": {"c": [left, None]},
    }


def tree(shards):
    sets = {"forget": {"shards": shards}, "retain": {"shards": shards}}
    return {"data": {**sets, "eval": sets}}


def test_a_configuration_is_shown_without_signatures_and_is_the_same_signed_anew(tmp_path):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(tree(SIGNED)))
    loaded = load_config(tmp_path / "a.yaml", [], RunConfig)
    assert loaded.config.data.forget.shards == SIGNED  # reads need it
    shown = resolved(loaded.config, loaded.origins)
    assert "versionId=3" in shown
    assert "hush" not in shown
    again = RunConfig.model_validate(tree(SIGNED.replace("hush", "later")))
    other = RunConfig.model_validate(tree(SIGNED.replace("versionId=3", "versionId=4")))
    assert config_hash(again) == config_hash(loaded.config) != config_hash(other)


def test_a_signature_on_the_command_line_is_refused_without_repeating_it(tmp_path):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(tree("a.tar")))
    for given in (SIGNED, f"['{SIGNED}']"):
        with pytest.raises(UserError) as caught:
            load_config(tmp_path / "a.yaml", [f"data.forget.shards={given}"], RunConfig)
        assert caught.value.where == "data.forget.shards"
        assert "a command line is seen by everyone" in str(caught.value)
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "override",
    [
        f"data.forget.shards.x={SIGNED}",  # goes below a text
        f"train.lr='{SIGNED}",  # no YAML
        f"{SIGNED.replace('=', ':')}",  # no override
    ],
)
def test_refusals_of_overrides_do_not_repeat_secrets(tmp_path, override):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(tree("a.tar")))
    with pytest.raises(UserError) as caught:
        load_config(tmp_path / "a.yaml", [override], RunConfig)
    assert "hush" not in str(caught.value) or "X-Amz-Signature:hush" in override


def test_a_wrong_value_is_repeated_without_its_signature(tmp_path):
    spoilt = tree("a.tar") | {"train": {"lr": SIGNED}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(spoilt))
    with pytest.raises(UserError, match="not 'https://store/a-") as caught:
        load_config(tmp_path / "a.yaml", [], RunConfig)
    assert "hush" not in str(caught.value)


def test_the_pushgateway_has_its_password_elsewhere():
    assert ObserveConfig(pushgateway="http://gateway:9091").pushgateway == "http://gateway:9091"
    for url in ("http://me:hush@gateway:9091", "http://gateway:9091?token=hush"):
        with pytest.raises(ValidationError) as caught:
            ObserveConfig(pushgateway=url)
        assert "write name and password into ~/.netrc" in str(caught.value)
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"comet": {"enabled": True, "api_key": "hush"}}, "comet.api_key"),
        ({"wandb": {"token": "hush"}}, "wandb.token"),
        ({"x": "https://me:hush@host"}, "x"),
    ],
)
def test_credentials_in_raw_deepspeed_options_are_refused(options, key):
    with pytest.raises(ValidationError, match=f"{key} looks like a credential"):
        RunConfig.model_validate(tree("a.tar") | {"deepspeed": options})


def test_numbers_about_tokens_are_no_credentials():
    options = {"data_efficiency": {"token_lr_schedule": {"total_tokens": 3}}, "tokens": 5}
    config = RunConfig.model_validate(tree("a.tar") | {"deepspeed": options})
    assert config.deepspeed == options
