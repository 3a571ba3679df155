"""Pins, Makefile and scripts: what a clean clone depends on."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = (ROOT / "constraints.txt").read_text().splitlines()
SCRIPTS = [
    ROOT / ".ci/run",
    *sorted((ROOT / "scripts").iterdir()),
    *sorted((ROOT / "launchers/slurm").iterdir()),
]


def canonical(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def test_constraints_are_names_and_versions_only():
    for line in PINS:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), line


def test_every_dependency_is_pinned():
    pinned = {canonical(line) for line in PINS}
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["dev"], *extras["monitoring"]]
    assert {canonical(requirement) for requirement in wanted} <= pinned


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "Makefile", ".ci/run"])
def test_no_package_host_is_named(name):
    text = (ROOT / name).read_text()
    assert not re.search(r"https?://|index-url|find-links|--index|pypi|pythonhosted", text)


def test_every_target_is_in_the_help():
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.M)
    assert phony is not None
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert [line.split()[0] for line in shown.splitlines()] == phony[1].split()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_start_and_stop_at_the_first_error(script):
    assert os.access(script, os.X_OK)
    assert "\nset -euo pipefail\n" in script.read_text()
    subprocess.run(["bash", "-n", script], check=True)


def packages(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """scripts/debian-packages on a machine that has Python, bash, id, and no apt-get."""
    for tool in ("bash", "env", "id"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "missing")
    (tmp_path / "python3").symlink_to(sys.executable)
    return subprocess.run(
        [ROOT / "scripts/debian-packages", *arguments],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )


def test_what_is_missing_is_named_with_the_command(tmp_path):
    answer = packages(tmp_path, "python3", "python3-venv", "bash", "no-such-tool")
    assert answer.returncode == 1
    assert "this machine lacks: no-such-tool\n" in answer.stderr
    assert "sudo apt-get install --yes --no-install-recommends no-such-tool\n" in answer.stderr


def test_nothing_is_said_where_nothing_is_missing(tmp_path):
    answer = packages(tmp_path, "python3", "python3-venv", "bash")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_a_python_that_is_too_old_or_missing_is_refused(tmp_path):
    answer = packages(tmp_path, "no-such-python", "bash")
    assert answer.returncode == 1
    assert "make PYTHON=python3.11 TARGET" in answer.stderr
