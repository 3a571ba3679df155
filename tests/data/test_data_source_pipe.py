"""Commands as shards: refused, or run once and read like files."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dist_erase.config.run import RunConfig
from dist_erase.config.source import SourceConfig
from dist_erase.data.index import index_set
from dist_erase.data.scan import iterate_raw
from dist_erase.data.source import SourceSettings, make_source
from dist_erase.errors import UserError


def settings(folder: Path) -> SourceSettings:
    return SourceSettings(allow_pipe=True, cache_dir=str(folder))


def test_a_command_is_run_once_and_its_output_read_as_a_shard(
    shards: Callable[..., str], tmp_path: Path
) -> None:
    folder = Path(shards([5, 3])).parent
    runs = tmp_path / "runs"
    command = f"pipe:sh -c 'echo x >> {runs}; cat {folder}/{{000..001}}.tar'"
    source = SourceConfig(shards=command)
    for _ in range(2):
        index = index_set(source, where="data.retain", settings=settings(tmp_path / "kept"))
        read = [raw["txt"].decode() for _, raw in iterate_raw(index)]
        assert read == [f"set {number}" for number in range(8)]
    assert runs.read_text() == "x\n" * 2  # two shards
    with pytest.raises(UserError, match="pipe: runs a command"):
        index_set(source, where="data.retain")


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    source = make_source(settings(tmp_path))
    shard = f"pipe:echo a; touch {tmp_path}/touched"
    assert source.read(shard, 0, 99) == f"a; touch {tmp_path}/touched\n".encode()
    assert not (tmp_path / "touched").exists()


def test_a_command_that_fails_says_so_without_secrets(tmp_path: Path) -> None:
    source = make_source(settings(tmp_path))
    url = "https://x/a.tar?X-Amz-Signature=hush"
    shard = f"pipe:sh -c {shlex.quote(f'echo denied {url} >&2; exit 7')}"
    for _ in range(2):  # nothing half-written is taken for the shard
        with pytest.raises(
            ChildProcessError, match=r"ended with 7: denied https://x/a\.tar"
        ) as caught:
            source.stat(shard)
        assert "hush" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        source.read("pipe:no-such-program", 0, 1)


def test_a_temporary_folder_that_somebody_else_made_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    (tmp_path / "dist-erase-pipes-4242").mkdir()  # as whoever runs the tests
    with pytest.raises(PermissionError, match="belongs to another user"):
        make_source(SourceSettings(allow_pipe=True)).read("pipe:echo a", 0, 9)


def test_a_run_needs_leave_for_commands() -> None:
    sets = {"forget": {"shards": "pipe:cat a.tar"}, "retain": {"shards": "b.tar"}}
    data = sets | {"eval": {name: {"shards": "c.tar"} for name in sets}}
    with pytest.raises(ValueError, match=r"data\.forget\.shards: pipe: runs a command.*allow_pipe"):
        RunConfig.model_validate({"data": data})
    allowed = RunConfig.model_validate({"data": data | {"allow_pipe": True}})
    assert SourceSettings.of(allowed.data).allow_pipe
