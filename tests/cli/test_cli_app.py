"""How errors become messages and exit codes, and what `--help` does not load."""

import subprocess
import sys

import pytest

from dist_erase.cli import app as cli
from dist_erase.errors import InterruptedRunError, StopAsked, UserError

HEAVY = ("torch", "ray", "deepspeed", "open_clip", "webdataset", "sklearn", "pyarrow")


def raising(error: BaseException):
    def command() -> None:
        raise error

    return command


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command line with one more command; returns (exit code, stdout, stderr)."""
    commands = list(cli.app.registered_commands)

    def go(*args: str, error: BaseException | None = None) -> tuple[int, str, str]:
        if error is not None:
            cli.app.command("fail")(raising(error))
        monkeypatch.setattr(sys, "argv", ["dist-erase", *args])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return (caught.value.code or 0, *capsys.readouterr())

    yield go
    cli.app.registered_commands[:] = commands


def test_user_error_is_one_line_and_exit_2(run):
    code, out, err = run("fail", error=UserError("train.lr", "is 0.", "Raise it."))
    assert (code, out, err) == (2, "", "error: train.lr: is 0. Raise it.\n")


def test_interrupted_run_is_exit_75(run):
    error = InterruptedRunError(7, StopAsked("sigterm", "SIGTERM"))
    code, _, err = run("fail", error=error)
    said = "stopped at step 7 by SIGTERM; `dist-erase run ... --resume` goes on\n"
    assert (code, err) == (75, said)


def test_ctrl_c_is_exit_130(run):
    code, _, err = run("fail", error=KeyboardInterrupt())
    assert code == 130
    assert "Traceback" not in err


def test_a_bug_keeps_its_traceback(monkeypatch):
    commands = list(cli.app.registered_commands)
    cli.app.command("fail")(raising(ZeroDivisionError("ours")))
    monkeypatch.setattr(sys, "argv", ["dist-erase", "fail"])
    with pytest.raises(ZeroDivisionError):
        cli.main()
    cli.app.registered_commands[:] = commands


def test_version(run):
    assert run("--version") == (0, "dist-erase 0.1.0\n", "")


def test_unknown_command_is_exit_2(run):
    code, _, err = run("confg")
    assert code == 2
    assert "Did you mean 'config'" in err


@pytest.mark.parametrize(
    "args", [["--help"], ["config", "--help"], ["data", "build", "digits", "--help"]]
)
def test_help_loads_nothing_heavy(args):
    code = (
        "import sys\nfrom dist_erase.cli.app import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code, end.code\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage: " in done.stdout
