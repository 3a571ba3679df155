"""Ranged GETs on fsspec's HTTP file system, which itself does not look at the answer's status.

Everything is one GET with a `Range` header. A stat asks for the first byte instead of sending
HEAD, since a signed URL is signed for GET.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import aiohttp
from fsspec.implementations.http import HTTPFileSystem

from dist_erase.data.source.attempts import ShortReadError
from dist_erase.data.source.protocol import ShardStat

# A proxy of the environment and logins of ~/.netrc; the deadline is set by the caller.
CLIENT = {"trust_env": True, "timeout": aiohttp.ClientTimeout(total=None)}
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
IGNORES_RANGE = (
    "the server ignores Range requests and sends the whole file; serve the shard from one that "
    "answers them (HTTP 206), or copy it to a disk"
)


async def read_range(fs: HTTPFileSystem, url: str, start: int, stop: int) -> bytes:
    """Bytes [start, stop), fewer at the file's end.

    A server that ignores Range is refused before its body is read, unless the whole file was
    asked for.

    Raises:
        ShortReadError: the answer is shorter than the server says the file is.
        OSError: the server ignores Range or answers another range.
        aiohttp.ClientError: no answer, or one with an error status.
    """
    async with await _get(fs, url, start, stop) as answer:
        answer.raise_for_status()
        if answer.status != 206:
            if start > 0 or answer.content_length is None or answer.content_length > stop:
                raise OSError(IGNORES_RANGE)
            return await answer.read()
        first, last, total = _content_range(answer.headers)
        wanted = stop if total is None else min(stop, total)
        if first != start or last >= stop:
            raise OSError(f"asked for bytes {start}-{stop - 1}, the server sent {first}-{last}")
        data = await answer.read()
    if start + len(data) < wanted:
        raise ShortReadError(f"the answer ended after {len(data)} of {wanted - start} bytes")
    return data


async def stat(fs: HTTPFileSystem, url: str) -> ShardStat:
    """Size and version.

    Raises:
        OSError: the server does not say how long the file is.
        aiohttp.ClientError: no answer, or one with an error status.
    """
    async with await _get(fs, url, 0, 1) as answer:
        if answer.status == 416:  # an empty file has no first byte
            size = _content_range(answer.headers)[2]
        else:
            answer.raise_for_status()
            ranged = answer.status == 206
            size = _content_range(answer.headers)[2] if ranged else answer.content_length
        if size is None:
            raise OSError("the server does not say how long the file is")
        for header in ("ETag", "Last-Modified"):
            if header in answer.headers:
                return ShardStat(size, f"{header.lower()}:{answer.headers[header]}")
        return ShardStat(size, f"size:{size}")


async def _get(fs: HTTPFileSystem, url: str, start: int, stop: int) -> aiohttp.ClientResponse:
    options: dict[str, Any] = dict(fs.kwargs)
    # Compressed on the way, the lengths would not be those of the file.
    headers = {"Accept-Encoding": "identity", "Range": f"bytes={start}-{stop - 1}"}
    options["headers"] = dict(options.get("headers", {})) | headers
    session: aiohttp.ClientSession = await fs.set_session()
    return await session.get(fs.encode_url(url), **options)


def _content_range(headers: Mapping[str, str]) -> tuple[int, int, int | None]:
    """First byte, last byte and the file's size, None if the server does not know it."""
    found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    if found is None:
        raise OSError("the server answered a Range request without a Content-Range")
    first, last, total = found.groups()
    return int(first or 0), int(last or 0), None if total == "*" else int(total)
