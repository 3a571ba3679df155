"""Names of samples in files that people write and read.

`SHARD.tar/KEY` is every sample of that shard with this key, `SHARD.tar#N` the shard's sample N
(from 0), `sha256:HEX` every sample whose encoded image has this SHA-256. SHARD is a file name, with
as many folders before it as are needed to tell shards of one name apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from dist_erase.data.split.pool import Pool, PoolShard
from dist_erase.errors import UserError

_FORMS = "Write SHARD.tar/KEY, SHARD.tar#NUMBER or sha256:HEX."
_PLACE = re.compile(r"(?P<shard>.+?\.tar)(?:/(?P<key>.+)|#(?P<number>\d+))")
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")


@dataclass(frozen=True, kw_only=True)
class GivenIds:
    """What an id file names.

    Attributes:
        positions: of the pool's samples.
        sha256: hex digests of encoded images, each with the line that it was read from.
    """

    positions: frozenset[int] = frozenset()
    sha256: tuple[tuple[str, int], ...] = ()


class SampleNames:
    """Position ↔ `SHARD.tar#N`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._by_name: dict[str, list[PoolShard]] = {}
        for shard in pool.shards:
            self._by_name.setdefault(PurePath(shard.path).name, []).append(shard)
        self._shown = [self._shortest(PurePath(shard.path)) for shard in pool.shards]

    def name(self, position: int) -> str:
        """`SHARD.tar#N`, unambiguous in the pool."""
        shard, row = self._pool.locate(position)
        return f"{self._shown[shard.number]}#{row}"

    def shard(self, number: int) -> str:
        """`SHARD.tar`, unambiguous in the pool."""
        return self._shown[number]

    def key(self, position: int) -> str:
        """The sample's key."""
        shard, row = self._pool.locate(position)
        return shard.key(row)

    def positions(self, text: str, where: str) -> list[int]:
        """Positions that `SHARD.tar/KEY` or `SHARD.tar#N` names.

        Raises:
            UserError: the form, the shard, the number or the key is unknown, or the shard is one
                of several.
        """
        match = _PLACE.fullmatch(text)
        if match is None:
            raise UserError(where, f"{text!r} names no sample.", _FORMS)
        shard = self._shard(match["shard"], where)
        first = int(self._pool.firsts[shard.number])
        if match["key"] is not None:
            rows = np.flatnonzero(shard.index.keys == match["key"].encode()).tolist()
            if not rows:
                raise UserError(
                    where, f"{shard.path} has no sample with the key {match['key']!r}.", _FORMS
                )
            return [first + row for row in rows]
        if int(match["number"]) >= len(shard):
            raise UserError(
                where,
                f"{shard.path} has no sample {match['number']}.",
                f"It has {len(shard)}, numbered from 0.",
            )
        return [first + int(match["number"])]

    def _shortest(self, path: PurePath) -> str:
        """The file name, and as many folders before it as no other shard shares."""
        others = [PurePath(shard.path).parts for shard in self._by_name[path.name]]
        for length in range(1, len(path.parts)):
            if [parts[-length:] for parts in others].count(path.parts[-length:]) == 1:
                return "/".join(path.parts[-length:])
        return str(path)

    def _shard(self, text: str, where: str) -> PoolShard:
        wanted = PurePath(text).parts
        found = [
            shard
            for shard in self._by_name.get(wanted[-1], [])
            if PurePath(shard.path).parts[-len(wanted) :] == wanted
        ]
        if not found:
            raise UserError(where, f"no shard of the pool is called {text!r}.", _FORMS)
        if len(found) > 1:
            raise UserError(
                where,
                f"{text!r} is the name of {len(found)} shards: {found[0].path}, {found[1].path}.",
                "Write more of the path.",
            )
        return found[0]


def read_ids(path: Path, names: SampleNames) -> GivenIds:
    """Reads an id file; empty lines and lines that start with # are left out.

    Raises:
        UserError: the file is missing, or names the line that is wrong.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("--forget-ids", f"cannot read `{path}` ({error}).", _FORMS) from error
    positions: set[int] = set()
    sha256: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if match := _SHA256.fullmatch(text):
            sha256.setdefault(match[1].lower(), number)
        else:
            positions.update(names.positions(text, f"{path}, line {number}"))
    if not positions and not sha256:
        raise UserError(str(path), "names no sample.", _FORMS)
    return GivenIds(positions=frozenset(positions), sha256=tuple(sha256.items()))
