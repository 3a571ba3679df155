"""Importing the package and asking for help are quick: no torch, no Ray."""

import os
import subprocess
import sys

import cli_surface

HEAVY = ("torch", "ray", "deepspeed", "open_clip", "webdataset", "numpy", "matplotlib", "sklearn")
HELP = """
import sys
from dist_erase.cli.app import main
main()
"""
# Each command in turn; the names of new modules, COMMAND=NAME, after "loaded:".
EACH_HELP = """
import sys
from dist_erase.cli.app import main
loaded, known = [], set()
for command in sys.argv[1:]:
    sys.argv = [*command.split(), "--help"]
    try:
        main()
    except SystemExit:
        pass
    loaded += [f"{command}={name}" for name in set(sys.modules) - known]
    known = set(sys.modules)
sys.stderr.write("loaded:" + ",".join(loaded))
"""


def loaded_by(code: str, *arguments: str) -> set[str]:
    """Top-level packages in sys.modules of a fresh interpreter that wrote them to stderr."""
    process = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    names = process.stderr.rpartition("loaded:")[2].split(",")
    return {name.partition(".")[0] for name in names}


def test_importing_the_package_loads_nothing_heavy():
    loaded = loaded_by(
        "import sys, dist_erase; sys.stderr.write('loaded:' + ','.join(sys.modules))"
    )
    assert "dist_erase" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_handles_of_teachers_load_no_torch():
    """Ray's own processes import this module with them, and have no use for torch."""
    code = (
        "import sys, dist_erase.teacher.actor; sys.stderr.write('loaded:' + ','.join(sys.modules))"
    )
    loaded = loaded_by(code)
    assert "numpy" in loaded
    assert loaded.isdisjoint({"torch", "open_clip", "deepspeed"})


def test_help_loads_nothing_heavy():
    commands = cli_surface.commands()
    assert len(commands) > 20
    loaded = {tuple(one.split("=")) for one in loaded_by(EACH_HELP, *commands)}
    assert "typer" in {name for _, name in loaded}
    assert [(command, name) for command, name in loaded if name in HEAVY] == []


def test_help_answers_at_once():
    before = os.times()
    subprocess.run([sys.executable, "-c", HELP, "--help"], capture_output=True, check=True)
    after = os.times()
    # CPU time, not wall time: other tests may keep the cores busy. It takes about 0.4 s.
    spent = after.children_user - before.children_user + after.children_system
    assert spent - before.children_system < 4.0
