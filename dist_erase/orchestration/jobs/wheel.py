"""dist_erase as the content of a wheel: what pip would put into a folder, without running pip."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

import dist_erase


def unpacked_wheel(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Adds what makes code a wheel; on the import path the folder is an installed dist-erase.

    Ray does take a `.whl`, but gives it to pip on each node. Two runs that come to a node together
    then break each other (Ray 2.60: the second finds the first one's folder, fails, and removes
    it), nodes without pip fail, and pip would fetch what the wheel depends on, PyTorch too.

    Args:
        files: content by path, from the package's folder on: `dist_erase/__main__.py`.

    Returns:
        The same and the wheel's own three; in this order, zipped, they are a wheel.
    """
    version = dist_erase.__version__
    about = f"dist_erase-{version}.dist-info"
    content = {
        **dict(sorted(files.items())),
        f"{about}/METADATA": (
            f"Metadata-Version: 2.1\nName: dist-erase\nVersion: {version}\n"
        ).encode(),
        f"{about}/WHEEL": (
            b"Wheel-Version: 1.0\nGenerator: dist-erase\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    rows = [f"{name},{_hash(inside)},{len(inside)}\n" for name, inside in content.items()]
    record = f"{about}/RECORD"
    return {**content, record: "".join([*rows, f"{record},,\n"]).encode()}


def _hash(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return f"sha256={digest.decode().rstrip('=')}"
