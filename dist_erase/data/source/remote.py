"""Shards behind URLs, through fsspec: one file system per protocol and process, made when needed.

Nothing here starts a process or puts a credential anywhere: the libraries find those themselves.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import fsspec
from fsspec.asyn import AsyncFileSystem, sync
from fsspec.implementations.http import HTTPFileSystem

from dist_erase.config.secrets import public
from dist_erase.data.source import http
from dist_erase.data.source.attempts import ShortReadError, attempt, within
from dist_erase.data.source.protocol import ShardStat, SourceSettings, protocol_of
from dist_erase.errors import UserError

T = TypeVar("T")
_ALIASES = {"s3a": "s3", "gcs": "gs", "https": "http"}  # one file system, one set of options
_EXTRAS = {"s3": "s3", "gs": "gcs"}
_AT_ONCE = 32  # requests about shards
_LISTING = 10  # a listing is many requests behind one call: deadlines of a read that it may take
_LISTED_FOR = 600.0  # seconds for which a listing answers the next `stat` of a shard
# What tells two versions of a file apart, the surest first: gs, s3, hf, others.
_VERSIONS = (
    "generation", "ETag", "etag", "xet_hash", "blob_id", "md5Hash", "content_md5",
    "LastModified", "last_modified", "updated", "mtime", "modified", "created",
)  # fmt: skip

# By process, protocol and options, for all sources, and never dropped: Python would close the
# connections of a collected file system wherever it happens to be, and in a forked child, where the
# event loop does not run, that takes a second for each of its parent's.
_filesystems: dict[tuple[int, str, str], Any] = {}


class RemoteSource:
    """Ranged reads of every URL that fsspec knows; may be used by several threads."""

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        self._stats: dict[str, ShardStat] = {}
        self._listed: dict[str, float] = {}  # shards whose stat is new, and since when

    def read(self, shard: str, start: int, stop: int) -> bytes:
        """Bytes [start, stop), fewer at the shard's end.

        Raises:
            OSError: the read failed for good; names the shard.
            UserError: the protocol is unknown, or its library is missing.
        """
        if stop <= start:
            return b""
        fs, path = self.open(shard)

        def once() -> bytes:
            data: bytes
            if isinstance(fs, HTTPFileSystem):
                data = self._run(fs, http.read_range, fs, path, start, stop)
                return data
            if isinstance(fs, AsyncFileSystem):
                data = self._run(fs, fs._cat_file, path, start=start, end=stop)
            else:
                exact = {"cache_type": "none"} if "hf" in fs.protocol else {}  # no reading ahead
                data = within(
                    self._settings.timeout_seconds,
                    lambda: fs.cat_file(path, start=start, end=stop, **exact),
                )
            self._check(shard, start, stop, data)
            return data

        return self._attempt(once, shard)

    def stat(self, shard: str) -> ShardStat:
        """Size and version; the first call after a listing is answered by that.

        Raises:
            OSError: as `read`.
            UserError: as `read`.
        """
        since = self._listed.pop(shard, None)
        if since is not None and time.monotonic() - since < _LISTED_FOR:
            return self._stats[shard]
        return self._ask(shard, fresh=True)

    def version(self, shard: str) -> str:
        """The version that this process saw last; asks the server only once."""
        known = self._stats.get(shard)
        return (known or self._ask(shard, fresh=False)).version

    def look(self, shards: list[str]) -> list[OSError | None]:
        """Which shards are there, many asked for at once; the next `stat` of each is answered.

        Raises:
            UserError: as `read`.
        """
        self.open(shards[0])[0].invalidate_cache()
        # The first alone: where a file is asked for by listing its folder (hf), that serves all.
        first = self._look(shards[0])
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return [first, *pool.map(self._look, shards[1:])]

    def glob(self, pattern: str) -> list[str]:
        """The files that match, as URLs, sorted; raises OSError and UserError as `read`."""
        fs, path = self.open(pattern)
        infos = self._list(fs, pattern, lambda: fs.glob(path, detail=True))
        found = {
            str(fs.unstrip_protocol(name)): info
            for name, info in infos.items()
            if info["type"] == "file"
        }
        self._stats |= {shard: _stat_of(info) for shard, info in found.items()}
        self._listed |= dict.fromkeys(found, time.monotonic())
        return sorted(found)

    def names(self, folder: str) -> list[str]:
        """Names of the files in a folder; raises OSError and UserError as `read`."""
        fs, path = self.open(folder)
        entries = self._list(fs, folder, lambda: fs.ls(path, detail=True))
        return [e["name"].rpartition("/")[2] for e in entries if e["type"] == "file"]

    def open(self, url: str) -> tuple[Any, str]:
        """The file system behind a URL and the path in it; raises UserError as `read`."""
        protocol = protocol_of(url)
        assert protocol is not None, url
        protocol = _ALIASES.get(protocol, protocol)
        options = _host_options(protocol, url) | self._options(protocol)
        key = (os.getpid(), protocol, repr(sorted(options.items())))
        if key not in _filesystems:
            _filesystems[key] = _make(protocol, options)
        fs = _filesystems[key]
        return fs, fs._strip_protocol(url)

    def _options(self, protocol: str) -> dict[str, Any]:
        options: dict[str, Any] = {}
        for name, given in self._settings.storage.items():
            if _ALIASES.get(name, name) == protocol:
                options |= given
        return options

    def _look(self, shard: str) -> OSError | None:
        try:
            self._ask(shard, fresh=False)
        except OSError as error:
            return error
        self._listed[shard] = time.monotonic()
        return None

    def _ask(self, shard: str, *, fresh: bool) -> ShardStat:
        """The server's answer; not fresh: that of a listing that the library has kept will do."""
        fs, path = self.open(shard)
        found = self._attempt(lambda: self._ask_once(fs, path, fresh), shard)
        self._stats[shard] = found
        return found

    def _ask_once(self, fs: Any, path: str, fresh: bool) -> ShardStat:
        if isinstance(fs, HTTPFileSystem):
            found: ShardStat = self._run(fs, http.stat, fs, path)
            return found
        if fresh:
            fs.invalidate_cache(path)
        if isinstance(fs, AsyncFileSystem):
            info = self._run(fs, fs._info, path)
        else:
            info = within(self._settings.timeout_seconds, lambda: fs.info(path))
        if info["type"] != "file":
            raise FileNotFoundError
        return _stat_of(info)

    def _list(self, fs: Any, pattern: str, call: Callable[[], T]) -> T:
        seconds = _LISTING * self._settings.timeout_seconds

        def once() -> T:
            fs.invalidate_cache()
            return within(seconds, call)

        return self._attempt(once, pattern, timeout=seconds)

    def _check(self, shard: str, start: int, stop: int, data: bytes) -> None:
        """Fewer bytes than asked for are right only at the end."""
        if len(data) > stop - start:
            raise OSError(http.IGNORES_RANGE)
        if len(data) < stop - start:
            size = self.stat(shard).size
            if start + len(data) < min(stop, size):
                wanted = min(stop, size) - start
                raise ShortReadError(f"the answer ended after {len(data)} of {wanted} bytes")

    def _attempt(self, once: Callable[[], T], shard: str, *, timeout: float | None = None) -> T:
        settings = self._settings
        seconds = settings.timeout_seconds if timeout is None else timeout
        return attempt(once, shard, timeout=seconds, retries=settings.retries)

    def _run(self, fs: Any, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Runs a coroutine function in fsspec's own event loop, within the deadline."""
        return sync(fs.loop, function, *args, timeout=self._settings.timeout_seconds, **options)


def _host_options(protocol: str, url: str) -> dict[str, Any]:
    """What a URL itself says about its file system: the host of sftp://host/path, for instance."""
    try:
        found: dict[str, Any] = fsspec.get_filesystem_class(protocol)._get_kwargs_from_urls(url)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        mend = f'Install it: pip install "dist-erase[{extra}]".' if extra else "Install it."
        raise UserError(f"{protocol}://", f"needs a library ({error}).", mend) from None
    except ValueError:
        raise UserError(
            f"{protocol}://",
            "is no protocol that fsspec knows.",
            "Write s3://, gs://, hf://, https:// or a local path.",
        ) from None
    return found


def _make(protocol: str, options: dict[str, Any]) -> Any:
    """A file system of our own, with the retries of its library left to `attempt`."""
    if protocol == "http":
        options["client_kwargs"] = http.CLIENT | options.get("client_kwargs", {})
    if protocol == "s3":
        # Its default of 10 connections is fewer than `data.read` has reads under way.
        config = {"retries": {"max_attempts": 0}, "max_pool_connections": _AT_ONCE}
        options["config_kwargs"] = config | options.get("config_kwargs", {})
    if protocol == "gs" and options.pop("anon", False):
        options["token"] = "anon"  # gcsfs's name for it
    try:
        fs = fsspec.filesystem(protocol, skip_instance_cache=True, **options)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"data.storage.{protocol}",
            f"does not fit {protocol}:// ({public(str(error))}).",
            "See fsspec's page of that file system for its options.",
        ) from None
    if protocol == "s3":
        fs.retries = 1
    return fs


def _stat_of(info: Mapping[str, Any]) -> ShardStat:
    for key in _VERSIONS:
        if info.get(key):
            return ShardStat(int(info["size"]), f"{key.lower()}:{info[key]}")
    return ShardStat(int(info["size"]), f"size:{info['size']}")
