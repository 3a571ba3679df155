"""Checks that import torch or Ray: each family in a process of its own, which can be ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from dist_erase.config.run import PretrainConfig, RunConfig
from dist_erase.orchestration.doctor.needs import Config
from dist_erase.orchestration.doctor.row import Row, fail

_SAID = 300  # characters of what a failed probe wrote last


class Probe:
    """A running probe.

    Args:
        module: run as `python -m MODULE`; reads one line of JSON, writes rows as JSON lines.
        name: stands in the row of a probe that fails itself.
        asked: the object; on stdin, since a command line is seen by everybody.
        seconds: deadline, after which the process is killed.
        environment: of the process; None = this one's.
    """

    def __init__(
        self,
        module: str,
        name: str,
        asked: Mapping[str, Any],
        *,
        seconds: float,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._name = name
        self._seconds = seconds
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=None if environment is None else dict(environment),
            start_new_session=True,
        )
        self._late = False
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._timer.start()
        self._errors: list[str] = []
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()
        assert self._process.stdin is not None
        try:
            # It stays open: its end tells the probe that nobody waits any more.
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has failed already, and its exit code says so

    def rows(self) -> Iterator[Row]:
        """Its rows as they come, and one more if it did not end well."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                yield Row(**json.loads(line))
        code = self._process.wait()
        self._timer.cancel()
        if self._late:
            found = f"no answer within {self._seconds:g} s"
            yield fail(self._name, found, "Look at the network and the load of this machine.")
        elif code:
            self._reader.join(timeout=1)
            said = " ".join("".join(self._errors).split())[-_SAID:]
            yield fail(self._name, f"the check ended with {code}: {said}", "Mend what it says.")

    def close(self) -> None:
        """Ends it, if it still runs."""
        self._timer.cancel()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join(timeout=1)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()

    def _end(self) -> None:
        self._late = True
        self._process.kill()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors = [*self._errors[-20:], line]


def asked_of(config: Config | None, **more: Any) -> dict[str, Any]:
    """What a probe reads."""
    kind = "pretrain" if isinstance(config, PretrainConfig) else "run"
    tree = None if config is None else config.model_dump(mode="json")
    return {"kind": kind, "config": tree, **more}


def read_asked() -> tuple[Config | None, dict[str, Any]]:
    """In the probe: the configuration, and what else was asked."""
    asked: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_asker, daemon=True).start()
    tree, kind = asked.pop("config"), asked.pop("kind")
    if tree is None:
        return None, asked
    return (PretrainConfig if kind == "pretrain" else RunConfig).model_validate(tree), asked


def _end_with_asker() -> None:
    # Not sys.stdin.read(): its lock would be held where the interpreter ends.
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def tell(row: Row) -> None:
    """In the probe: hands a row over at once."""
    sys.stdout.write(json.dumps(asdict(row)) + "\n")
    sys.stdout.flush()
