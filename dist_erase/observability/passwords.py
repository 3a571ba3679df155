"""Passwords for addresses: from ~/.netrc, never from a command line or a configuration."""

from __future__ import annotations

import base64
import netrc
from urllib.parse import urlsplit


def password(url: str) -> dict[str, str]:
    """The header for a host that is in ~/.netrc; a command line would show it to everybody."""
    try:
        found = netrc.netrc().authenticators(urlsplit(url).hostname or "")
    except (OSError, netrc.NetrcParseError):
        return {}
    if found is None:
        return {}
    user, _, password = found
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}
