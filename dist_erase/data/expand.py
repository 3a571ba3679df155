"""The members of a block: plain tar headers read here, every other block by webdataset's expander.

Nine tenths of what reading costs is Python's tarfile, which builds an object for each member. The
headers that webdataset's own writer, img2dataset and tar make of short names are a dozen bytes at
fixed places. A block with anything else in it (long names, links, sparse files, other number
formats, a wrong checksum) is left to webdataset as a whole, so what it says of it stays the same.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from webdataset.tariterators import tar_file_expander

from dist_erase.data.scan_tar import LEFT_OUT

_RECORD = 512
_NAME, _PREFIX = slice(0, 100), slice(345, 500)
_SIZE, _CHECKSUM = slice(124, 136), slice(148, 156)
_POSIX, _GNU = b"ustar\x0000", b"ustar  \x00"
_MAGIC = slice(257, 265)
_FILE = (b"0"[0], 0)
_DIRECTORY = b"5"[0]
_TYPE = 156
Member = dict[str, Any]  # webdataset's: fname, data, __url__


def expand_block(data: bytes, url: str) -> Iterator[Member]:
    """The members of a part of a tar, as `webdataset.tariterators.tar_file_expander` gives them.

    Raises:
        tarfile.TarError, ValueError: it is no part of a tar.
    """
    members = _plain_members(data, url)
    if members is None:
        yield from tar_file_expander([{"url": url, "stream": io.BytesIO(data)}])
    else:
        yield from members


def _plain_members(data: bytes, url: str) -> list[Member] | None:
    """None where a header is not of the plain kind."""
    members, at, end = [], 0, len(data)
    while at < end:
        header = data[at : at + _RECORD]
        if len(header) < _RECORD:
            return None
        kind, size = header[_TYPE], _number(header[_SIZE])
        if size is None or not _is_plain(header, kind):
            return None
        at += _RECORD
        name, padded = _name(header), -(-size // _RECORD) * _RECORD
        if name is None or at + padded > end:
            return None
        if kind != _DIRECTORY and not LEFT_OUT.match(name):
            members.append({"fname": name, "data": data[at : at + size], "__url__": url})
        at += padded
    return members or None


def _is_plain(header: bytes, kind: int) -> bool:
    if header[_MAGIC] not in (_POSIX, _GNU) or (kind not in _FILE and kind != _DIRECTORY):
        return False
    # The checksum counts its own eight bytes as blanks.
    found = sum(header) - sum(header[_CHECKSUM]) + 8 * ord(" ")
    return _number(header[_CHECKSUM]) == found


def _number(field: bytes) -> int | None:
    digits = field.rstrip(b" \x00").lstrip(b" ")
    return (
        int(digits, 8) if digits.isdigit() and b"8" not in digits and b"9" not in digits else None
    )


def _name(header: bytes) -> str | None:
    name = header[_NAME].split(b"\x00", 1)[0]
    if header[_MAGIC] == _POSIX and (prefix := header[_PREFIX].split(b"\x00", 1)[0]):
        name = prefix + b"/" + name
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None
