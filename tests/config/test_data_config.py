"""The data section: weights, commands in patterns, credentials."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from dist_erase.config.data import PretrainDataConfig
from dist_erase.config.secrets import public, secret_in
from dist_erase.config.source import SourceConfig
from dist_erase.data.source import SourceSettings

SETS = {"train": {"shards": "a.tar"}, "eval": {"shards": "b.tar"}}


def test_one_weight_per_pattern() -> None:
    assert SourceConfig(shards=["a", "b"], weights=[1, 0.5]).weights == [1.0, 0.5]
    with pytest.raises(ValidationError, match="weights has 1 numbers for 2 patterns of shards"):
        SourceConfig(shards=["a", "b"], weights=[1])
    with pytest.raises(ValidationError, match=r"weights are \[1.0, 0.0\]; each must be above 0"):
        SourceConfig(shards=["a", "b"], weights=[1, 0])
    with pytest.raises(ValidationError, match="finite"):
        SourceConfig(shards=["a", "b"], weights=[1, float("inf")])


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("https://me:hush@host/a.tar", "a URL holds a login"),
        ("https://hush@host/a.tar", "a URL holds a login"),
        ("sftp://me:hush@host/a.tar", "a URL holds a login"),
        ("blockcache::s3://a/b.tar", "blockcache:: chains file systems"),
    ],
)
def test_patterns_that_are_refused(pattern: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        SourceConfig(shards=["fine/*.tar", pattern])
    assert "hush" not in str(caught.value.errors()[0]["ctx"]["error"])


@pytest.mark.parametrize(
    "pattern", ["sftp://me@host/a.tar", "hf://datasets/me/set@main/a.tar", "abfs://pool@me/a.tar"]
)
def test_patterns_whose_at_sign_is_no_login(pattern: str) -> None:
    assert SourceConfig(shards=pattern).shards == public(pattern) == pattern


@pytest.mark.parametrize(
    ("storage", "key"),
    [
        ({"s3": {"key": "AKIA"}}, "s3.key"),
        ({"s3": {"client_kwargs": {"aws_secret_access_key": "hush"}}}, "aws_secret_access_key"),
        ({"http": {"headers": {"Authorization": "Bearer hush"}}}, "http.headers.Authorization"),
        ({"http": {"headers": {"X-Api-Key": "hush"}}}, "http.headers.X-Api-Key"),
        ({"s3": {"s3_additional_kwargs": {"SSECustomerKey": "hush"}}}, "SSECustomerKey"),
        ({"gs": {"token": "/my/token.json"}}, "gs.token"),
        ({"abfs": {"account_name": "me", "connection_string": "x", "sas": "h"}}, "abfs.sas"),
        ({"s3": {"endpoint_url": "https://me:hush@host"}}, "s3.endpoint_url"),
    ],
)
def test_credentials_are_refused(storage: dict[str, Any], key: str) -> None:
    with pytest.raises(ValidationError, match="looks like a credential") as caught:
        PretrainDataConfig(**SETS, storage=storage)
    said = str(caught.value.errors()[0]["ctx"]["error"])
    assert key in said
    assert "hush" not in said


def test_other_options_pass() -> None:
    storage = {
        "s3": {"endpoint_url": "https://host:9000", "anon": True, "requester_pays": True},
        "gs": {"token": "anon", "project": "mine"},
        "hf": {"token": False},
        "http": {"client_kwargs": {"trust_env": True}, "block_size": 5},
    }
    assert secret_in(storage) is None
    data = PretrainDataConfig(
        **SETS,
        storage=storage,
        read={"timeout_seconds": 7, "retries": 0},
        block_cache={"dir": "/scratch", "max_bytes": "2GB"},
    )
    assert SourceSettings.of(data) == SourceSettings(
        timeout_seconds=7, retries=0, storage=storage, cache_dir="/scratch", cache_bytes=2 * 10**9
    )


def test_public_names() -> None:
    assert public("s3://pool/a?.tar") == "s3://pool/a?.tar"
    text = "403, url='https://me:hush@host/a.tar?sig=hush&se=1' and ftp://me:hu@sh@host/b"
    assert public(text) == "403, url='https://host/a.tar' and ftp://host/b"
