"""Whatever is in a block, its members are those that webdataset's expander gives."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webdataset.tariterators import tar_file_expander

from dist_erase.data.expand import _plain_members, expand_block

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
names = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=120)
members = st.lists(st.tuples(names, st.binary(max_size=1500), st.sampled_from("0L5")), max_size=6)


def tar_of(chosen: list[tuple[str, bytes, str]], form: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for name, data, kind in chosen:
            header = tarfile.TarInfo(name)
            if kind == "0":
                header.size = len(data)
            else:
                header.type = {"L": tarfile.SYMTYPE, "5": tarfile.DIRTYPE}[kind]
                header.linkname = "elsewhere" if kind == "L" else ""
            tar.addfile(header, io.BytesIO(data))
        end = tar.offset
    return stream.getvalue()[:end]


def expected(data: bytes) -> list[dict] | str:
    try:
        return list(tar_file_expander([{"url": "u", "stream": io.BytesIO(data)}]))
    except (tarfile.TarError, ValueError) as error:
        return type(error).__name__


def found(data: bytes) -> list[dict] | str:
    try:
        return list(expand_block(data, "u"))
    except (tarfile.TarError, ValueError) as error:
        return type(error).__name__


def without_end(members: list[dict] | str) -> list[dict] | str:
    """The mark {} at the end of a stream means nothing within one block."""
    return members if isinstance(members, str) else [m for m in members if m]


@settings(deadline=None)
@given(members, st.sampled_from(FORMATS))
def test_any_member_of_any_format(chosen: list[tuple[str, bytes, str]], form: int) -> None:
    try:
        data = tar_of(chosen, form)
    except ValueError:  # ustar has no room for the name
        return
    assert without_end(found(data)) == without_end(expected(data))


@settings(deadline=None)
@given(st.integers(0, 3071), st.integers(1, 255), st.integers(0, 3072))
def test_any_damage_is_what_it_is_to_webdataset(place: int, change: int, length: int) -> None:
    data = bytearray(tar_of([("a.jpg", b"x" * 700, "0"), ("a.txt", b"cat", "0")], FORMATS[2]))
    data[place % len(data)] ^= change
    damaged = bytes(data[: max(1, length)])
    assert without_end(found(damaged)) == without_end(expected(damaged))


@pytest.mark.parametrize("form", FORMATS)
def test_shards_as_they_are_written_take_the_short_way(form: int) -> None:
    chosen = [("photos/000.jpg", b"x" * 700, "0"), ("photos", b"", "5"), ("__x__/y.txt", b"", "0")]
    plain = _plain_members(tar_of(chosen, form), "u")
    assert plain is not None
    assert [member["fname"] for member in plain] == ["photos/000.jpg"]
