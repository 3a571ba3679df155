"""The way to a cluster's dashboard: its address, its token, and who else may order there."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from dist_erase.config.launcher import Launcher, ways_in
from dist_erase.config.secrets import has_login, public
from dist_erase.data.source.attempts import within
from dist_erase.errors import UserError
from dist_erase.orchestration.ray_token import token_file

_ANSWER_SECONDS = 15.0
_PORT = 8265
_OPEN = (
    "warning: {address} asks for no token: everyone who reaches it can run code there. "
    "`ray get-auth-token --generate` before `ray start` on every node closes it."
)
# Ray's client lets these go before any address that it is given.
_RAYS_OWN = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


def dashboard(address: str | None, launcher: Launcher) -> str:
    """`http://HOST:PORT` from --address or the launcher.

    Raises:
        UserError: neither is given, or it is no address of a dashboard.
    """
    given = address or launcher.address
    if given is None:
        raise UserError("--address", "is not given.", "Name the head node: http://HOST:8265.")
    if has_login(given):
        raise UserError(
            public(given),
            "comes with a name or password, which lists of processes show.",
            "Go by a token (RAY_AUTH_MODE=token).",
        )
    url = _url(given)
    if url is None:
        raise UserError(
            given,
            "is no address of a Ray dashboard.",
            "Write http://HOST:8265 (ray://… and port 6379 are other doors of the same cluster).",
        )
    return url


def _url(given: str) -> str | None:
    try:
        parts = urlsplit(given if "://" in given else f"http://{given}")
        port = parts.port or _PORT
    except ValueError:  # a port that is no number up to 65535, or half an IPv6 address
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}"


def connect(address: str, launcher: Launcher, warn: Callable[[str], None]) -> Any:
    """A JobSubmissionClient that has reached the cluster.

    Args:
        address: of the dashboard.
        launcher: for the words that say what to do.
        warn: takes a line about an open cluster.

    Raises:
        UserError: nobody answers, it is no Ray dashboard, or the token is missing or wrong.
    """
    reach, _ = ways_in(launcher)
    mode = _auth_mode(address, launcher, reach)
    if mode == "disabled":
        warn(_OPEN.format(address=address))
    if mode == "token":
        _check_own_token(address, launcher)
    try:
        with _only_this_address(), tokens_explained(address, launcher):
            return within(
                2 * _ANSWER_SECONDS, lambda: JobSubmissionClient(address, verify=launcher.verify)
            )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(address, f"is no Ray that takes jobs ({why}).", reach) from None


@contextmanager
def tokens_explained(address: str, launcher: Launcher) -> Iterator[None]:
    """Inside, a refused token becomes a UserError with the mend; no token is in it."""
    try:
        yield
    except AuthenticationError as error:
        _, where = ways_in(launcher)
        if "failed" in str(error).partition(":")[0].lower():
            raise UserError(
                address,
                "refuses this machine's token (403): it is another cluster's, or an old one.",
                f"{where} Set RAY_AUTH_TOKEN_PATH to a file that holds it.",
            ) from None
        raise UserError(
            address, "asks for a token, and none was sent (401).", _how(where)
        ) from None


def _auth_mode(address: str, launcher: Launcher, reach: str) -> str | None:
    """`token` or `disabled`; None of a Ray that does not say. Asked without any token."""
    request = urllib.request.Request(f"{address}/api/authentication_mode")
    try:
        with urllib.request.urlopen(
            request, timeout=_ANSWER_SECONDS, context=_tls(launcher)
        ) as answer:
            mode: str | None = json.load(answer).get("authentication_mode")
            return mode
    except urllib.error.HTTPError:  # an older Ray, or none; its version is asked for next
        return None
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or error
    except http.client.HTTPException as error:  # of ssh, or of Ray's own port 6379
        why = f"its answer is no HTTP: {str(error)[:24]!r}"  # escaped: it may be anything
    raise UserError(address, f"no Ray dashboard answers there ({why}).", reach)


def _tls(launcher: Launcher) -> ssl.SSLContext:
    if isinstance(launcher.verify, str):
        path = Path(launcher.verify)
        if not path.exists():
            raise UserError("verify", f"there is no file {path}.", "Name the authority's file.")
        folder = str(path) if path.is_dir() else None
        return ssl.create_default_context(cafile=None if folder else str(path), capath=folder)
    context = ssl.create_default_context()
    if not launcher.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _check_own_token(address: str, launcher: Launcher) -> None:
    """Before Ray's C++ looks for it, which ends the process when there is none."""
    _, where = ways_in(launcher)
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        raise UserError(
            address, "asks for a token, and RAY_AUTH_MODE is not token here.", _how(where)
        )
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    path = token_file()
    try:
        found = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        found = ""
    if not found:
        raise UserError(
            str(path), f"holds no token, and {address} asks for one.", f"{where} Write it there."
        )


def _how(where: str) -> str:
    return (
        "Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file with the token (without it, "
        f"~/.ray/auth_token is read). {where}"
    )


@contextmanager
def _only_this_address() -> Iterator[None]:
    """Inside, Ray's client takes the address that it is given."""
    taken = {name: os.environ.pop(name) for name in _RAYS_OWN if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(taken)
