"""What must not be written down: run folders, reports and messages are passed on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

_SECRET_WORDS = frozenset(
    {"auth", "authorization", "apikey", "bearer", "cookie", "key", "keys", "passphrase", "passwd"}
    | {"pwd", "sas", "sig", "signature"}
)
_SECRET_PARTS = ("secret", "password", "token", "credential")
# gcsfs takes the way of signing in by this name; only a longer value can be a secret.
_WAYS_TO_SIGN_IN = frozenset({"anon", "browser", "cache", "cloud", "google_default"})
# Variables that name a file with a credential, and values that only turn something on or off.
_NAMES_A_FILE = re.compile(r"(_(FILE|PATH|DIR|SOCK)|^GOOGLE_APPLICATION_CREDENTIALS)$")
_SWITCHES = frozenset({"", "0", "1", "true", "false", "yes", "no", "on", "off"})
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# With a colon it holds a password; web servers take a token in the user's place, too. A part before
# the @ of abfs://container@account or sftp://user@host is no secret.
_LOGIN = re.compile(r"(https?://|://(?=[^/\s'\"@]*:))[^/\s'\"]*@")
# Parameters of signed URLs, and whatever else sounds like a credential (`secret_in`).
_SIGNATURE = re.compile(
    r"x-(amz|goog)-|(signature|expires|policy|key-pair-id|awsaccesskeyid|googleaccessid)$"
    r"|s[vretpi]$|sig$|spr$|token$",
    re.IGNORECASE,
)
_QUERY = re.compile(r"(\w[\w+.-]*://[^\s?'\"<>]*)\?[^\s'\"<>]*=[^\s'\"<>]*")


def public(text: str) -> str:
    """A URL, or a text that holds URLs, without logins and query strings.

    A `?` that no `=` follows is a wildcard and stays.
    """
    return _QUERY.sub(r"\1", _LOGIN.sub(r"\1", text))


def unsigned(url: str) -> str:
    """A URL without its signature: what is read stays the same when it is signed anew.

    Local paths, commands and other parameters of the query stay as they are.
    """
    head, mark, query = url.partition("?")
    if not mark or "=" not in query or not _SCHEME.match(head):
        return url
    given = query.split("&")
    kept = [part for part in given if not _signs(unquote_plus(part.partition("=")[0]))]
    return url if kept == given else "?".join([head, *(["&".join(kept)] if kept else [])])


def recorded(value: Any) -> Any:
    """A configuration's tree as run folders, reports and terminals may keep it: URLs unsigned."""
    if isinstance(value, str):
        return unsigned(value)
    if isinstance(value, Mapping):
        return {key: recorded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [recorded(inner) for inner in value]
    return value


def _signs(name: str) -> bool:
    return _SIGNATURE.match(name) is not None or _looks_secret(name)


def has_login(url: str) -> bool:
    """Whether a URL holds a password, or a login of a web server."""
    return _LOGIN.search(url) is not None


def secret_in(options: Mapping[str, Any]) -> str | None:
    """The dotted key of the first option that looks like a credential, or holds a login."""
    for key, value in options.items():
        if _looks_secret(key) and not _is_harmless(value):
            return key
        if isinstance(value, str) and public(value) != value:
            return key
        if isinstance(value, Mapping) and (inner := secret_in(value)):
            return f"{key}.{inner}"
    return None


def is_secret_variable(name: str, value: str) -> bool:
    """Whether an environment variable holds a credential or a login, and not a file's name."""
    bare = value.strip().strip("'\"")
    if bare.lower() in _SWITCHES or (_NAMES_A_FILE.search(name) and bare.startswith(("/", "~"))):
        return False
    return secret_in({name: bare}) is not None


def _is_harmless(value: Any) -> bool:
    if isinstance(value, Mapping):
        return not value
    return value is False or (isinstance(value, str) and value in _WAYS_TO_SIGN_IN)


def _looks_secret(key: str) -> bool:
    words = {word.lower() for word in _WORD.findall(key)}
    return bool(words & _SECRET_WORDS) or any(part in key.lower() for part in _SECRET_PARTS)
