"""dist_erase as a wheel that a cluster's nodes can install without a package index."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping

import dist_erase

_DATE = (1980, 1, 1, 0, 0, 0)  # a zip file cannot hold an earlier one
_HASH_LETTERS = 12


def wheel(files: Mapping[str, bytes]) -> tuple[str, bytes]:
    """A wheel of these files.

    It names no dependencies: Ray gives it to `pip install --target`, which would fetch all of them
    again, PyTorch too, beside those that the nodes have. Its build number comes from its content,
    because Ray takes two wheels of one name for the same and would go on with the older.

    Args:
        files: content by path, from the package's folder on: `dist_erase/__main__.py`.

    Returns:
        Its file name and its content; the same for the same files.
    """
    version = dist_erase.__version__
    about = f"dist_erase-{version}.dist-info"
    entries = dict(sorted(files.items()))
    entries[f"{about}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: dist-erase\nVersion: {version}\n"
    ).encode()
    listed = "".join(f"{name},{_hash(content)}\n" for name, content in entries.items())
    digest = hashlib.sha256(listed.encode()).hexdigest()
    build = f"0x{digest[:_HASH_LETTERS]}"  # a digit comes first
    entries[f"{about}/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: dist-erase\nRoot-Is-Purelib: true\n"
        f"Tag: py3-none-any\nBuild: {build}\n"
    ).encode()
    rows = [f"{name},{_hash(content)},{len(content)}\n" for name, content in entries.items()]
    entries[f"{about}/RECORD"] = "".join([*rows, f"{about}/RECORD,,\n"]).encode()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return f"dist_erase-{version}-{build}-py3-none-any.whl", made.getvalue()


def _hash(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return f"sha256={digest.decode().rstrip('=')}"
