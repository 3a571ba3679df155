"""Real Ray heads with a dashboard, as `ray start --head` makes them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from support.ports import free_port
from support.runs import BIN, end

_CURRENT = Path("/tmp/ray/ray_current_cluster")  # what `auto` finds, whatever --temp-dir says
_START_SECONDS = 60


@dataclass(frozen=True)
class Head:
    """One that runs."""

    port: int  # of the dashboard
    gcs: str  # HOST:PORT for ray.init
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def ray_head(*options: str, cpus: int = 4, gcs: int = 0, **environment: str) -> Iterator[Head]:
    """A head with logical CPUs; it and all its processes are gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # socket paths must be short
    dashboard, client = free_port(), free_port()
    gcs = gcs or free_port()
    command = [
        *(str(BIN / "ray"), "start", "--head", "--block", f"--num-cpus={cpus}"),
        *("--node-ip-address=127.0.0.1", f"--port={gcs}", f"--ray-client-server-port={client}"),
        *("--include-dashboard=true", f"--dashboard-port={dashboard}"),
        *("--dashboard-agent-listen-port=0", f"--temp-dir={folder}", "--disable-usage-stats"),
        *("--object-store-memory=100000000", *options),
    ]
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    log = folder / "start.log"
    with kept_current_cluster(), log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            env=os.environ
            | {"PATH": path, "DS_ACCELERATOR": "cpu"}
            # Open, unless asked: Ray takes a token that it finds in the home folder by itself.
            | {"RAY_AUTH_MODE": "disabled"}
            | environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            head = Head(dashboard, f"127.0.0.1:{gcs}", log)
            _wait_for(head, process)
            yield head
        finally:
            end(process)  # nothing in it is worth the seconds that Ray gives itself
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def kept_current_cluster() -> Iterator[None]:
    """Puts back what `auto` finds, which every `ray start` on the machine writes."""
    before = _CURRENT.read_bytes() if _CURRENT.exists() else None
    try:
        yield
    finally:
        if before is not None:
            _CURRENT.write_bytes(before)
        else:
            _CURRENT.unlink(missing_ok=True)


def _wait_for(head: Head, process: subprocess.Popen[bytes]) -> None:
    """Until the dashboard answers; no token is needed to ask it for that."""
    url = f"{head.url}/api/authentication_mode"
    deadline = time.monotonic() + _START_SECONDS
    while True:
        with suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=2) as answer:
            json.load(answer)
            return
        assert process.poll() is None, head.log.read_text()
        assert time.monotonic() < deadline, head.log.read_text()
        time.sleep(0.2)
