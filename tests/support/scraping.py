"""Scrapes a run's address while the run lives."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

from support.runs import TIMEOUT_SECONDS


def scrape_until_done(process: subprocess.Popen[str], folder: Path) -> tuple[str, str]:
    """The last whole scrape that saw a step, and what the run printed."""
    printed: list[str] = []
    reader = threading.Thread(target=lambda: printed.append(process.communicate()[0]))
    reader.start()
    discovery = folder.parent / ".file_sd" / f"{folder.name}.json"
    last, deadline = "", time.monotonic() + TIMEOUT_SECONDS
    while reader.is_alive() and time.monotonic() < deadline:
        try:
            target = json.loads(discovery.read_text())[0]["targets"][0]
            with urllib.request.urlopen(f"http://{target}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except (OSError, ValueError):
            text = ""
        last = text if "dist_erase_loss{" in text else last
        time.sleep(0.2)
    reader.join(timeout=5)
    return last, "".join(printed)
