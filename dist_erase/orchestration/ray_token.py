"""Where Ray looks for the token of this machine's user."""

from __future__ import annotations

import os
from pathlib import Path


def token_file() -> Path:
    """The file, whether it is there or not; the variable RAY_AUTH_TOKEN comes before it."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named) if named else Path.home() / ".ray" / "auth_token"
