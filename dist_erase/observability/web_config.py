"""TLS and passwords of the metrics address, in Prometheus's own file format.

https://prometheus.io/docs/prometheus/latest/configuration/https: the same file serves node
exporters and others. Of it `tls_server_config` (certificate, key, client certificates, lowest
version) and `basic_auth_users` (name → bcrypt hash) are understood; other keys are refused, since
a setting that is silently left out would seem to protect.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ssl
import threading
from pathlib import Path
from typing import Any, Literal

import bcrypt
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dist_erase.errors import UserError

_WHERE = "observe.web_config"
# What an unknown name is compared with, behind the cost: salt and hash of nobody's password.
_NOBODY = b"7EqJtq98hPqEX7fNZaFWoOhi5m1yYfKJ5r8XlXh3xGg3RzE8t8W3a"
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Tls(_Strict):
    cert_file: str
    key_file: str
    client_auth_type: Literal["NoClientCert", "RequireAndVerifyClientCert"] = "NoClientCert"
    client_ca_file: str | None = None
    min_version: Literal["TLS12", "TLS13"] = "TLS12"

    @model_validator(mode="after")
    def clients_are_verified_by_somebody(self) -> _Tls:
        if (self.client_ca_file is None) == (self.client_auth_type != "NoClientCert"):
            raise ValueError("client_ca_file and RequireAndVerifyClientCert belong together")
        return self


class _File(_Strict):
    tls_server_config: _Tls | None = None
    basic_auth_users: dict[str, str] = Field(default_factory=dict)

    @field_validator("basic_auth_users")
    @classmethod
    def passwords_are_hashed(cls, value: dict[str, str]) -> dict[str, str]:
        for name, hashed in value.items():
            if not hashed.startswith(("$2a$", "$2b$", "$2y$")) or len(hashed) != 60:
                raise ValueError(f"the password of {name} is no bcrypt hash (htpasswd -nB {name})")
        return value


class WebConfig:
    """What protects an address.

    Attributes:
        tls: None = plain HTTP.
    """

    def __init__(self, tls: ssl.SSLContext | None, users: dict[str, str]) -> None:
        self.tls = tls
        self._users = {name: hashed.encode() for name, hashed in users.items()}
        # An unknown name takes as long as the slowest known one.
        cost = max((hashed[4:6] for hashed in self._users.values()), default=b"10")
        self._nobody = b"$2b$" + cost + b"$" + _NOBODY
        self._known: set[bytes] = set()
        self._lock = threading.Lock()

    def allows(self, authorization: str | None) -> bool:
        """Whether a request with this Authorization header is answered.

        A password is hashed once and then remembered (as a digest): bcrypt takes a twentieth of
        a second, on a machine that has to train. One is hashed at a time.
        """
        if not self._users:
            return True
        given = _credentials(authorization)
        if given is None:
            return False
        name, password = given
        digest = hashlib.sha256(f"{name}:".encode() + password).digest()
        if digest in self._known:  # does not wait for those that guess
            return True
        with self._lock:
            if digest in self._known:
                return True
            hashed = self._users.get(name, self._nobody)
            allowed = _matches(password, hashed) and name in self._users
            if allowed:
                self._known.add(digest)
            return allowed


def load_web_config(path: str | None) -> WebConfig:
    """Reads the file; None gives plain HTTP for everybody. Its paths are relative to itself.

    Raises:
        UserError: the file, a certificate or a key cannot be read, or says what is not understood.
    """
    if path is None:
        return WebConfig(None, {})
    try:
        content: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        settings = _File.model_validate(content)
    except (OSError, yaml.YAMLError) as error:
        raise _bad(path, " ".join(str(error).split())) from error
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        raise _bad(path, f"{at}: {first['msg'].removeprefix('Value error, ')}") from error
    tls = None if settings.tls_server_config is None else _context(settings.tls_server_config, path)
    return WebConfig(tls, settings.basic_auth_users)


def _context(settings: _Tls, path: str) -> ssl.SSLContext:
    folder = Path(path).parent
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.min_version]
    try:
        context.load_cert_chain(folder / settings.cert_file, folder / settings.key_file)
        if settings.client_ca_file is not None:
            context.load_verify_locations(folder / settings.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise _bad(path, f"tls_server_config: {error.strerror or error}") from error
    return context


def _bad(path: str, problem: str) -> UserError:
    return UserError(
        _WHERE,
        f"{path} cannot be used ({problem}).",
        "Give a file in Prometheus's web-config format that every node can read, as in "
        "docs/metrics.md.",
    )


def _credentials(authorization: str | None) -> tuple[str, bytes] | None:
    kind, _, value = (authorization or "").partition(" ")
    try:
        name, colon, password = base64.b64decode(value, validate=True).partition(b":")
        return (name.decode(), password) if kind.lower() == "basic" and colon else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def _matches(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password, hashed)
    except ValueError:  # longer than bcrypt takes
        return False
