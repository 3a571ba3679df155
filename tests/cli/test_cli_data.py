"""`dist-erase data build`."""

import json
import subprocess
import sys

import pytest

from dist_erase.cli.app import main


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def go(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dist-erase", "data", "build", *args])
        with pytest.raises(SystemExit) as caught:
            main()
        return (caught.value.code or 0, *capsys.readouterr())

    return go


def test_digits_and_again(run, tmp_path):
    code, out, err = run("digits", "d", "--forget", "one,two", "--forget", "three", "--size", "16")
    assert (code, err) == (0, "")
    assert "d/train/forget-*.tar" in out
    record = json.loads((tmp_path / "d" / "dataset.json").read_text())
    assert record["options"]["forget"] == ["one", "two", "three"]
    assert f"{record['samples']['train/retain']:,}" in out
    code, out, _ = run("digits", "d", "--forget", "one,two,three", "--size", "16")
    assert code == 0
    assert "d (up to date)" in out


def test_other_options_need_overwrite(run, tmp_path):
    run("digits", "d")
    code, out, err = run("digits", "d", "--forget", "one")
    assert (code, out) == (2, "")
    assert err.startswith("error: d: holds a data set built with other options (forget: ['seven']")
    assert run("digits", "d", "--forget", "one", "--overwrite")[0] == 0


def test_mistakes_are_messages(run, tmp_path):
    (tmp_path / "t.csv").write_text("image,caption,set\n0.png,a cat,forgotten\n")
    code, _, err = run("folder", "out", "--table", "t.csv")
    assert (code, err) == (
        2,
        "error: t.csv, line 2, set: is 'forgotten'. Write forget or retain, or leave it empty.\n",
    )
    code, _, err = run("cifar100", "out", "--source", "nowhere")
    assert code == 2
    assert err.startswith("error: nowhere: does not exist. Name the folder that holds train-")
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_as_a_process(tmp_path):
    start = "from dist_erase.cli.app import main; main()"
    args = ["data", "build", "digits", "d", "--forget", "sevn"]
    done = subprocess.run(
        [sys.executable, "-c", start, *args],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: --forget: no class is called 'sevn'. Did you mean seven?")
    assert "Traceback" not in done.stderr
