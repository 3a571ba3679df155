"""Runs on the cluster, alone, without the package: asks a run to save a checkpoint and end.

The request is the file `stop` in the run folder. A driver that only just begins clears it away as a
leftover, so it is written again until the run has ended. How an earlier part of the run ended may
lie there until then, too, and does not count.

Usage: python stop_file.py FOLDER SECONDS REASON
"""

import json
import os
import socket
import sys
import time
from pathlib import Path

NOT_STARTED = 3
NOT_SEEN = 4


def ask(folder: Path, seconds: float, reason: str) -> int:
    """Keeps the request up until the run has left how it ended; gives the exit code."""
    if not folder.parent.is_dir():
        print(f"{socket.gethostname()} does not see {folder.parent}")  # noqa: T201
        return NOT_SEEN
    if not (folder / "config.json").exists():
        print(f"{folder} holds no run yet")  # noqa: T201
        return NOT_STARTED
    end, before = time.monotonic() + seconds, _written(folder / "end.json")
    while time.monotonic() < end and _written(folder / "end.json") in (None, before):
        if not (folder / "stop").exists():
            part = folder / f".stop.{os.getpid()}.tmp"
            part.write_text(json.dumps({"reason": reason, "time": time.time()}), encoding="utf-8")
            os.replace(part, folder / "stop")
        time.sleep(0.5)
    return 0


def _written(path: Path) -> int | None:
    """When a file was last written, by its own clock; None if there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(ask(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]))
