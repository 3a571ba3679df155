from __future__ import annotations

from pathlib import Path

import pytest

from dist_erase.data.shards import expand_shards
from dist_erase.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b_000.tar", "b_001.tar", "a.tar", "seven_000.tar"):
        (tmp_path / name).touch()
    return tmp_path


def test_patterns_keep_their_order_and_globs_are_sorted(folder: Path) -> None:
    found = expand_shards([f"{folder}/b_{{001,000}}.tar", f"{folder}/?.tar"], where="x")
    assert found == tuple(f"{folder}/{name}" for name in ("b_001.tar", "b_000.tar", "a.tar"))


def test_relative_names_become_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert expand_shards("a.tar", where="x") == (f"{folder}/a.tar",)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("seven-{000..003}.tar", "similar names there: seven_000.tar"),
        ("b_{000..003}.tar", "2 of the 4 names"),
        ("nothing-like-it/x.tar", "the folder does not exist"),
        ("zzzzzzzz*", "no similar names"),
    ],
)
def test_missing_shards_are_named_with_their_neighbours(
    folder: Path, pattern: str, said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        expand_shards(f"{folder}/{pattern}", where="data.forget.shards")
    assert str(caught.value).startswith("data.forget.shards: no shard matches `")
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        (["{}/a.tar", "{}/?.tar"], "listed twice"),
        (["s3://bucket/a.tar"], "not a local path"),
        ([], "no shards are given"),
    ],
)
def test_other_mistakes(folder: Path, patterns: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        expand_shards([pattern.replace("{}", str(folder)) for pattern in patterns], where="x")
