"""The file that asks a run to stop: written by whoever wants that, read by its first rank."""

from __future__ import annotations

import json
import time
from pathlib import Path

from dist_erase.errors import StopAsked
from dist_erase.orchestration.run_folder import STOP
from dist_erase.storage import write_json

_ANYBODY = "a stop request"


def request_stop(folder: Path, asked: StopAsked) -> None:
    """Asks the run in `folder` to write a checkpoint after its next step and to end."""
    write_json(folder / STOP, {"reason": asked.words, "time": time.time(), "kind": asked.kind})


def stop_requested(folder: Path) -> StopAsked | None:
    """Who asked the run to stop since it was last started; None = nobody.

    A file without a readable reason counts too: `touch RUN/stop` is what a person types.
    """
    try:
        text = (folder / STOP).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        left = json.loads(text)
        words = " ".join(str(left["reason"]).split())
    except (ValueError, KeyError, TypeError):
        return StopAsked("request", _ANYBODY)
    if left.get("kind") == "sigterm":
        return StopAsked("sigterm", words or _ANYBODY)
    return StopAsked("request", words or _ANYBODY)
