"""Patterns of URLs → the shards behind them, and what to do when there are none.

Wildcards need a listing, which web servers do not have; what braces name is asked for one by one,
many at a time, since a listing of its folder may be forbidden or endless.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from dist_erase.config.secrets import public
from dist_erase.data.neighbours import similar_names
from dist_erase.data.source.protocol import protocol_of
from dist_erase.data.source.remote import RemoteSource
from dist_erase.errors import UserError

_AT_ONCE = 32  # requests
_WEB = ("http", "https")
# Where each library looks for credentials.
_SIGN_IN = {
    "s3": "Credentials come from AWS's chain (AWS_ACCESS_KEY_ID, AWS_PROFILE, ~/.aws, the "
    "machine's role); a public bucket needs data.storage.s3.anon=true, another store than AWS "
    "data.storage.s3.endpoint_url.",
    "gs": "Credentials come from GOOGLE_APPLICATION_CREDENTIALS, gcloud's login or the machine's "
    "role; a public bucket needs data.storage.gs.anon=true.",
    "hf": "The token comes from HF_TOKEN or `hf auth login`.",
    "https": "A login comes from ~/.netrc; a signed URL may have expired.",
}
_ALIASES = {"s3a": "s3", "gcs": "gs", "http": "https"}


def expand_remote(pattern: str, names: list[str], where: str, remote: RemoteSource) -> list[str]:
    """The shards that a pattern stands for, as URLs; each is there.

    Args:
        pattern: as the user wrote it.
        names: what its braces stand for, in order.
        where: configuration key named in errors.
        remote: asked for them; its next `stat` of each costs nothing.

    Raises:
        UserError: a shard is missing or out of reach, or the server cannot list.
    """
    wild = [name for name in names if _is_wild(name)]
    if wild and protocol_of(pattern) in _WEB:
        raise UserError(
            where,
            f"`{public(pattern)}` has a wildcard, and a web server cannot list its files.",
            "Write the numbers in braces, for instance {000000..000123}.tar.",
        )
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(lambda name: _look(name, name in wild, remote), names))
    failed = [(n, f) for n, f in zip(names, found, strict=True) if isinstance(f, OSError) or not f]
    if failed:
        name, error = failed[0]
        count = (len(failed), len(names))
        raise _refusal(name, error if isinstance(error, OSError) else None, count, where, remote)
    return [shard for shards in found if not isinstance(shards, OSError) for shard in shards]


def _is_wild(name: str) -> bool:
    """Whether a name has a wildcard; a `?` with a query behind it is none."""
    path = public(name) if protocol_of(name) in _WEB else name
    return any(sign in path for sign in "*?[")


def _look(name: str, wild: bool, remote: RemoteSource) -> list[str] | OSError:
    try:
        if wild:
            return remote.glob(name)
        remote.listed(name)
    except OSError as error:
        return error
    return [name]


def _refusal(
    name: str, error: OSError | None, count: tuple[int, int], where: str, remote: RemoteSource
) -> UserError:
    """One message about the first shard that is not to be had."""
    shown, protocol = public(name), protocol_of(name) or ""
    protocol = _ALIASES.get(protocol, protocol)
    sign_in = _SIGN_IN.get(protocol, "See fsspec's page of that file system for its login.")
    of = f" ({count[0]} of {count[1]} names)" if count[1] > 1 else ""
    if error is None or isinstance(error, FileNotFoundError):
        around, mend = "", f"Fix the pattern. {sign_in}"
        if protocol != "https":
            around, listed = _neighbours(name, remote)
            mend = "Fix the pattern." if listed else mend
        return UserError(where, f"no shard matches `{shown}`{of}{around}.", mend)
    problem = f"`{shown}`{of} cannot be read: {error.strerror}."
    if isinstance(error, PermissionError):
        return UserError(where, problem, sign_in)
    return UserError(where, problem, f"Is the address right and reachable from here? {sign_in}")


def _neighbours(name: str, remote: RemoteSource) -> tuple[str, bool]:
    """What stands in the folder of a missing shard or the nearest above it; whether it is known."""
    looked = folder = name.rpartition("/")[0]
    while not folder.endswith(":/"):
        try:
            present = remote.names(folder)
        except FileNotFoundError:
            folder = folder.rpartition("/")[0]
            continue
        except OSError as error:
            return f" ({folder} cannot be listed: {error.strerror})", False
        if folder != looked:
            return f" ({looked} does not exist; {folder} does)", True
        similar = similar_names(name.rpartition("/")[2], sorted(present))
        return f" (looked in {folder}; {similar})", True
    return f" (nothing is there, not even {'/'.join(name.split('/')[:3])})", False
