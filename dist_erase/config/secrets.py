"""What must not be written down: run folders, reports and messages are passed on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SECRET_WORDS = frozenset(
    {"auth", "authorization", "apikey", "bearer", "cookie", "key", "keys", "passphrase", "passwd"}
    | {"pwd", "sas", "sig", "signature"}
)
_SECRET_PARTS = ("secret", "password", "token", "credential")
# gcsfs takes the way of signing in by this name; only a longer value can be a secret.
_WAYS_TO_SIGN_IN = frozenset({"anon", "browser", "cache", "cloud", "google_default"})
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# With a colon it holds a password; web servers take a token in the user's place, too. A part before
# the @ of abfs://container@account or sftp://user@host is no secret.
_LOGIN = re.compile(r"(https?://|://(?=[^/\s'\"@]*:))[^/\s'\"]*@")
_QUERY = re.compile(r"(\w[\w+.-]*://[^\s?'\"<>]*)\?[^\s'\"<>]*=[^\s'\"<>]*")


def public(text: str) -> str:
    """A URL, or a text that holds URLs, without logins and query strings.

    A `?` that no `=` follows is a wildcard and stays.
    """
    return _QUERY.sub(r"\1", _LOGIN.sub(r"\1", text))


def has_login(url: str) -> bool:
    """Whether a URL holds a password, or a login of a web server."""
    return _LOGIN.search(url) is not None


def secret_in(options: Mapping[str, Any]) -> str | None:
    """The dotted key of the first option that looks like a credential, or holds a login."""
    for key, value in options.items():
        if _looks_secret(key) and value not in _WAYS_TO_SIGN_IN and value is not False:
            return key
        if isinstance(value, str) and public(value) != value:
            return key
        if isinstance(value, Mapping) and (inner := secret_in(value)):
            return f"{key}.{inner}"
    return None


def _looks_secret(key: str) -> bool:
    words = {word.lower() for word in _WORD.findall(key)}
    return bool(words & _SECRET_WORDS) or any(part in key.lower() for part in _SECRET_PARTS)
