"""`dist-erase data split` and `data inspect` as a person calls them."""

import json
import shlex
import sys

import pytest
import yaml
from support.pools import sample, texts, write_pool
from support.web import web_server

from dist_erase.cli.app import main

WORDS = ("split", "out", "pool/*.tar", "--workers", "0")


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    rows = [sample(n, f"{'apple' if n < 9 else 'car'} {n}", int(n < 9)) for n in range(30)]
    write_pool(tmp_path / "pool", [rows[:20], rows[20:]])

    def go(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dist-erase", "data", *args])
        with pytest.raises(SystemExit) as caught:
            main()
        return (caught.value.code or 0, *capsys.readouterr())

    return go


def test_split_by_rules_shows_the_sets(run, tmp_path):
    (tmp_path / "classes.json").write_text('["car", "apple"]')
    code, out, err = run(*WORDS, "--forget-label", "apple", "--classes", "classes.json")
    assert (code, err) == (0, "")
    assert "out/train/forget-*.tar" in out
    assert "30 distinct images, each hashed while it was written: no two sets share one." in out
    assert len(texts(tmp_path / "out", "train/forget", "eval/forget")) == 9
    assert json.loads((tmp_path / "out" / "classes.json").read_text()) == ["car", "apple"]
    assert "(up to date)" in run(*WORDS, "--forget-label", "apple", "--classes", "classes.json")[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.json", "out", "pool"]


def test_a_concept_stops_for_review_and_says_how_to_go_on(run, tmp_path, tiny):
    concept = ["--concept", "a photo of an apple", "--top-k", "6", "--near", "1"]
    model = ["--architecture", tiny.architecture, "--pretrained", tiny.pretrained]
    code, out, _ = run(*WORDS, *concept, *model)
    assert code == 0
    assert "6 of 30 images would be forgotten, 0 of them as near-duplicates." in out
    assert not (tmp_path / "out").exists()
    words = shlex.split(out.splitlines()[-1])
    assert words[:2] == ["dist-erase", "data"]
    code, out, _ = run(*words[2:])
    assert code == 0
    assert len(texts(tmp_path / "out", "train/forget", "eval/forget")) == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "error: --forget-label, --forget-regex, --forget-ids, --concept: none is given"),
        (("--concept", "apple"), "error: --architecture: is not given, but --concept is."),
        (("--forget-label", "1", "--near", "0.9"), "error: --near: needs a teacher."),
        (("--forget-label", "1", "--threshold", "0"), "error: --threshold: does nothing without"),
        (("--forget-label", "1", "--yes"), "error: --yes: does nothing without --architecture."),
        (("--forget-label", "1", "--caption", "text"), "error: --caption: is 'text'."),
        (("--forget-label", "1", "--caption", "cls"), "error: --caption: is cls, which needs"),
        (("--forget-label", "1", "https://me:pw@host/a.tar"), "error: POOL: a URL holds a login"),
        (("--forget-label", "1", "--config", "a.json"), "error: --config: is a.json."),
        (("--forget-label", "1", "--config", "a.yaml"), "error: a.yaml: does not exist."),
        (("--forget-label", "1", "--architecture", "ViT-B-32"), "error: --pretrained: is not"),
        (
            ("--forget-label", "1", "--classes", "no.json"),
            "error: --classes: cannot read `no.json`",
        ),
    ],
)
def test_mistakes_are_messages(run, tmp_path, words, message):
    code, out, err = run(*WORDS, *words)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert [path.name for path in tmp_path.iterdir()] == ["pool"]


def test_inspect_for_people_and_machines(run, tmp_path):
    code, out, err = run("inspect", "pool/*.tar", "--workers", "0")
    assert (code, err) == (0, "")
    assert "No warnings." in out
    write_pool(tmp_path / "dirty", [[sample(0, jpg=b"[red]"), {"a[/b].png": b""}]])
    code, out, _ = run("inspect", "dirty/*.tar", "--workers", "0")
    assert code == 0
    assert "000001.a[/b].png" in out
    code, out, _ = run("inspect", "dirty/*.tar", "--workers", "0", "--json")
    assert json.loads(out)["warnings"]["zero-byte member"]["count"] == 1
    code, out, err = run("inspect", "nothing/*.tar")
    assert (code, out) == (2, "")
    assert err.startswith("error: PATTERN: no shard matches `nothing/*.tar`")


@pytest.fixture
def store(monkeypatch, tmp_path, request):
    """An S3 store that answers unsigned requests only; run.yaml, which says so."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    config = yaml.safe_load((request.config.rootpath / "configs" / "quickstart.yaml").read_text())
    with web_server() as web:
        config["data"]["storage"] = {"s3": {"anon": True, "endpoint_url": web.url}}
        config["data"]["read"] = {"retries": 0}
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
        yield web


def test_a_configuration_says_how_a_store_is_reached(run, tmp_path, store):
    for shard in (tmp_path / "pool").iterdir():
        store.files[f"/bucket/{shard.name}"] = shard.read_bytes()
    pool = ("s3://bucket/{000,001}.tar", "--workers", "0", "--config", "run.yaml")
    code, out, err = run("inspect", *pool, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["samples"] == 30
    code, _, err = run("split", "out", *pool, "--forget-regex", "apple")
    assert (code, err) == (0, "")
    assert len(texts(tmp_path / "out", "train/forget", "eval/forget")) == 9


def test_a_dirty_pool_is_split_and_the_end_says_what_was_left_out(run, tmp_path):
    shard = tmp_path / "pool" / "001.tar"
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    code, out, err = run(*WORDS, "--forget-regex", "apple")
    assert (code, err) == (0, "")
    assert "Damaged shards: 1; only their whole samples are used, see left_out.csv." in out
    assert (tmp_path / "out" / "left_out.csv").read_text().splitlines()[1].startswith("001.tar,,")
