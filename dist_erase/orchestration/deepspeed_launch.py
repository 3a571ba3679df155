"""`deepspeed`, with a free port, with SIGTERM handed to the run, and with the run's exit code.

`deepspeed` itself always takes port 29500, on one machine ends without passing SIGTERM on, over
ssh gives its ranks half a minute, and then ends with 1. torchrun ends with 1 in every case.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

from filelock import FileLock, Timeout

from dist_erase.config.load import load_config
from dist_erase.config.run import RunConfig
from dist_erase.config.secrets import is_secret_variable
from dist_erase.errors import (
    EXIT_BUG,
    EXIT_DONE,
    EXIT_GOAL_MISSED,
    EXIT_INTERRUPTED,
    EXIT_STOPPED,
    EXIT_USER_ERROR,
    LOST_CONTACT,
    UserError,
)
from dist_erase.orchestration.again import done_already, is_begun
from dist_erase.orchestration.ending import read_ending
from dist_erase.orchestration.paths import absolute
from dist_erase.orchestration.run_folder import END, FAILURE, STOP, folder_of, lock_of
from dist_erase.orchestration.signals import SAME_SECONDS, SIGTERM
from dist_erase.orchestration.stop_request import request_stop
from dist_erase.storage import read_json_lines
from dist_erase.training.attempts import ATTEMPTS

_PORTS = range(20000, 32000)  # below those that systems give to whoever asks for any
_POLL_SECONDS = 0.2
# Otherwise ssh waits for ever for a host that is gone without a word.
_SSH = "-o ServerAliveInterval=10 -o ServerAliveCountMax=3"
_END_SECONDS = 120.0  # for ranks to write a checkpoint after their launcher has ended
_USAGE = (
    "Write launch.py [DEEPSPEED'S OPTIONS] --config CONFIG [--resume-or-start] [KEY=VALUE ...], "
    "or launch.py --by COMMAND ... --config CONFIG ... for another launcher."
)
_CLEAR = (EXIT_DONE, EXIT_USER_ERROR, EXIT_GOAL_MISSED, EXIT_INTERRUPTED, EXIT_STOPPED)
_BY = "--by"
_RESUME_OR_START = "--resume-or-start"
_DEEPSPEED = ("deepspeed", "deepspeed.pt", "ds")
# As deepspeed/launcher/runner.py has them; NCCL is what its accelerator for NVIDIA's GPUs adds.
_HOSTFILE = "/job/hostfile"
_EXPORTED = ("MLFLOW", "PYTHON", "MV2", "UCX", "NCCL")
_SHOWN = "DeepSpeed writes it into the command line of every host and into its log."
_SIGN_IN = (
    "Remove it; sign in on every host instead (~/.aws, ~/.netrc, `hf auth login`), or name a file "
    "that is there (AWS_SHARED_CREDENTIALS_FILE, GOOGLE_APPLICATION_CREDENTIALS, HF_TOKEN_PATH)."
)


def main(script: Path, arguments: list[str] | None = None) -> int:
    """Launches, waits, gives the run's exit code.

    Args:
        script: what every rank runs: launchers/deepspeed/unlearn.py.
        arguments: deepspeed's own, then `--config` and what the script takes; or `--by`, the
            words of another launcher's command, `--config` … `--resume-or-start` is `--resume`
            where there is a run, for launchers that start the same command again.
    """
    try:
        ours, theirs = _split(sys.argv[1:] if arguments is None else arguments)
        config = _config(theirs)
        start = ours[1:] if ours[:1] == [_BY] else ["deepspeed", *_port(ours), *ours]
        if start and Path(start[0]).name in _DEEPSPEED and _over_hosts(start[1:]):
            _refuse_secrets()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USER_ERROR
    launch = _Launch(config)
    if _RESUME_OR_START in theirs:
        done = done_already(config)
        if done is not None:
            sys.stderr.write(f"this run has ended before: {done.message}\n")
            return done.exit_code
        theirs = [word for word in theirs if word != _RESUME_OR_START]
        theirs += ["--resume"] if is_begun(config) else []
    return launch.run([*start, str(script), *theirs])


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    at = next((i for i, word in enumerate(arguments) if word.split("=")[0] == "--config"), None)
    if at is None:
        raise UserError("--config", "is missing.", _USAGE)
    return arguments[:at], arguments[at:]


def _config(theirs: list[str]) -> RunConfig:
    """The configuration that the ranks will load, for its run folder."""
    first, *rest = theirs
    path = first.partition("=")[2] or (rest.pop(0) if rest else "")
    overrides = [word for word in rest if not word.startswith("-")]
    return absolute(load_config(Path(path), overrides, RunConfig).config)


def _port(ours: list[str]) -> list[str]:
    """A port that is free here; the first host may be another, where chance has to do."""
    if any(word.split("=")[0] == "--master_port" for word in ours):
        return []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        return ["--master_port", str(port)]
    raise UserError("--master_port", "every port from 20000 on is taken.", "Free one.")


def _over_hosts(words: list[str]) -> bool:
    """Whether DeepSpeed may reach for other hosts, with these options of its own."""
    parser = argparse.ArgumentParser(prog="launch.py", add_help=False)
    parser.add_argument("-H", "--hostfile", default=_HOSTFILE)
    parser.add_argument("--no_ssh", action="store_true")
    known, _ = parser.parse_known_args(words)
    return not known.no_ssh and Path(known.hostfile).is_file()


def _refuse_secrets() -> None:
    """Everybody on a host sees command lines, and DeepSpeed hands variables on by them.

    Raises:
        UserError: a variable, or a line of DeepSpeed's environment files, is a credential.
    """
    for name, value in os.environ.items():
        if name.startswith(_EXPORTED) and is_secret_variable(name, value):
            raise UserError(name, f"looks like a credential, and {_SHOWN}", _SIGN_IN)
    file = os.environ.get("DS_ENV_FILE", ".deepspeed_env")
    for path in dict.fromkeys(Path(folder, file) for folder in (os.path.expanduser("~"), ".")):
        lines = path.read_text(errors="replace").split("\n") if path.is_file() else []
        for number, line in enumerate(lines, start=1):
            name, _, value = line.partition("=")
            if is_secret_variable(name.strip(), value):
                raise UserError(
                    f"{path}, line {number}",
                    f"{name.strip()} looks like a credential, and {_SHOWN}",
                    _SIGN_IN,
                )


class _Launch:
    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._folder = folder_of(config)
        # For what rank 0 says where it leaves no run folder; of this launch, not of one beside it.
        self._said = lock_of(config).with_name(f".{config.run.name}.{uuid.uuid4().hex[:8]}.end")
        self._asked: float | None = None  # when SIGTERM came first, by the monotonic clock
        self._twice = False

    def run(self, command: list[str]) -> int:
        """Starts `command` and waits for its end; gives the exit code of the run."""
        before = {name: _written(self._folder / name) for name in (END, FAILURE, ATTEMPTS)}
        signal.signal(signal.SIGTERM, self._arrived)
        signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C reaches the launcher by itself
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "PDSH_SSH_ARGS_APPEND": f"{os.environ.get('PDSH_SSH_ARGS_APPEND', '')} {_SSH}".strip(),
        }
        process = subprocess.Popen([*command, f"--end-at={self._said}"], env=environment)
        while process.poll() is None:
            self._pass_on(process)
            time.sleep(_POLL_SECONDS)
        if self._asked is not None:
            self._wait_for_ranks()
        new = {
            name for name, at in before.items() if _written(self._folder / name) not in (None, at)
        }
        return self._code(process.returncode, new)

    def _code(self, returned: int, new: set[str]) -> int:
        """The run's exit code, from the launcher's and from which files the ranks have left."""
        end, said = read_ending(self._folder), _take(self._said)
        if end is not None and END in new:
            if returned != EXIT_DONE:
                sys.stderr.write(f"{end.message}\n")
            code, lost = end.exit_code, end.message.startswith(LOST_CONTACT)
        elif said is not None:
            return said
        else:  # rank 0, which would have left word, may be what was lost
            code = returned if returned >= 0 else 128 - returned
            lost = code not in _CLEAR and FAILURE not in new and ATTEMPTS in new
            step = self._newest_step() if lost else None
            lost = step is not None
            if lost:
                sys.stderr.write(
                    f"rank 0 ended without a word (exit code {code}); step {step} is saved; the "
                    "same command with --resume goes on\n"
                )
                code = EXIT_INTERRUPTED
        if lost and self._asked is None and self._stands_still():
            sys.stderr.write(
                "two attempts in a row lost ranks without a new checkpoint: this is no longer "
                "taken for bad luck. Look for the first error of a rank above.\n"
            )
            return EXIT_BUG
        return code

    def _newest_step(self) -> int | None:
        from dist_erase.training.checkpoint import newest_step  # torch, which few launches need

        return newest_step(self._folder / "checkpoints")

    def _stands_still(self) -> bool:
        """Whether the last two starts began at the step that is the newest saved one still."""
        rows = read_json_lines(self._folder / "metrics.jsonl")
        starts = [row["step"] for row in rows if row.get("event") == "start"]
        return starts[-2:] == [self._newest_step() or 0] * 2

    def _arrived(self, *_: object) -> None:
        now = time.monotonic()
        if self._asked is None:
            self._asked = now
        elif now - self._asked > SAME_SECONDS:
            self._twice = True

    def _pass_on(self, process: subprocess.Popen[bytes]) -> None:
        """Asks the run to stop, again if its start has removed the file that says so."""
        if self._twice:
            self._twice = False
            process.send_signal(signal.SIGTERM)
        elif (
            self._asked is not None
            and is_begun(self._config)
            and not (self._folder / STOP).exists()
        ):
            request_stop(self._folder, SIGTERM)

    def _wait_for_ranks(self) -> None:
        """A signal to the whole job may have ended `deepspeed` before its ranks."""
        try:
            with FileLock(lock_of(self._config), timeout=_END_SECONDS):
                pass
        except FileNotFoundError:
            pass  # no rank has come so far
        except Timeout:
            sys.stderr.write(f"the ranks still work after {_END_SECONDS:g} s\n")


def _take(path: Path) -> int | None:
    """The exit code that rank 0 left in a file, which is removed; None if it left none."""
    try:
        code = int(path.read_text(encoding="utf-8"))
        path.unlink()
    except (OSError, ValueError):
        return None
    return code


def _written(path: Path) -> int | None:
    """When a file was last written, by its own clock; None if there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None
