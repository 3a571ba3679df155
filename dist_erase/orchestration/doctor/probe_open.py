"""Whether a Ray cluster lets anybody in: asked without a token, in a process of its own."""

from __future__ import annotations

import json
import sys

from ray._raylet import Config, GcsClient  # type: ignore[attr-defined]

_ANSWER_SECONDS = 4.0


def main() -> None:
    """Reads an address from stdin; says open, closed, or what failed."""
    address = json.load(sys.stdin)["address"]
    Config.initialize("")
    try:
        client = GcsClient(address=address, cluster_id=None)
        client.get_all_node_info(timeout=_ANSWER_SECONDS)
    except Exception as error:  # noqa: BLE001  # Ray raises whatever gRPC says
        refused = any(word in str(error).lower() for word in ("unauthenticated", "token", "auth"))
        sys.stdout.write("closed" if refused else f"unknown {type(error).__name__}")
    else:
        sys.stdout.write("open")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
