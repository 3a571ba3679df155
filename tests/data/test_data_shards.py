from __future__ import annotations

from pathlib import Path

import pytest

from dist_erase.data.shards import choose_shards, expand_shards
from dist_erase.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b_000.tar", "b_001.tar", "a.tar", "seven_000.tar"):
        (tmp_path / name).touch()
    return tmp_path


def test_patterns_keep_their_order_and_globs_are_sorted(folder: Path) -> None:
    found = expand_shards([f"{folder}/b_{{001,000}}.tar", f"{folder}/?.tar"], where="x")
    assert found == ((f"{folder}/b_001.tar", f"{folder}/b_000.tar"), (f"{folder}/a.tar",))


def test_relative_names_become_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert expand_shards("a.tar", where="x") == ((f"{folder}/a.tar",),)


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
        (["pipe:cat {}/a.tar"], "pipe: runs a command"),
        (["simplecache::s3://bucket/a.tar"], "simplecache:: chains file systems"),
        (["s3x://bucket/a.tar"], "no protocol that fsspec knows"),
        (["https://host/*.tar"], "a web server cannot list"),
        (["https://me:hush@host/a.tar"], "holds a login"),
        (["{}/a{.tar"], "unbalanced braces"),
        ([], "no shards are given"),
    ],
)
def test_other_mistakes(folder: Path, patterns: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        expand_shards([pattern.replace("{}", str(folder)) for pattern in patterns], where="x")


def test_file_urls_are_local_paths(folder: Path) -> None:
    assert expand_shards(f"file://{folder}/b*.tar", where="x") == (
        (f"{folder}/b_000.tar", f"{folder}/b_001.tar"),
    )


def test_max_shards_are_drawn_by_seed_and_stay_in_their_groups() -> None:
    groups = (tuple("abcdefgh"), ("i",), tuple("jklmnopq"))
    drawn = [choose_shards(groups, 5, seed) for seed in range(20)]
    for chosen in drawn:
        assert sum(map(len, chosen)) == 5
        assert [
            set(part) <= set(group) and list(part) == sorted(part)
            for part, group in zip(chosen, groups, strict=True)
        ] == [True] * 3
    assert drawn[3] == choose_shards(groups, 5, 3)
    assert len(set(drawn)) > 10
    assert choose_shards(groups, 17, 0) == choose_shards(groups, None, 0) == groups
