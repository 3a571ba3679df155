"""How many samples of a set may be unusable before the run stops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dist_erase.batch import Quarantined, StreamName
from dist_erase.errors import UserError


class Quarantine:
    """Counts the distinct unusable samples that a run has met, set by set.

    A sample is known by its shard's ordinal, since a run may be resumed where the shards have other
    paths.

    Args:
        sizes: samples in each set.
        fractions: the share of each set that may be unusable.
    """

    def __init__(self, sizes: dict[StreamName, int], fractions: dict[StreamName, float]) -> None:
        self._sizes = sizes
        self._fractions = fractions
        self._met: dict[StreamName, set[tuple[int | str, int]]] = {name: set() for name in sizes}
        # What older versions met, by file name: their paths may be gone.
        self._older: dict[StreamName, set[tuple[str, int]]] = {name: set() for name in sizes}

    def recall(self, entries: Iterable[Quarantined]) -> None:
        """Counts what an earlier attempt met; raises nothing."""
        for entry in entries:
            if entry.reason == "overlap":
                continue
            if entry.ordinal is None:
                self._older[entry.stream].add((_file_name(entry.shard), entry.index))
            else:
                self._note(entry)

    def add(self, entries: Iterable[Quarantined]) -> None:
        """Counts entries; those of reason `overlap` are replaced by design and do not count.

        Raises:
            UserError: a set has more unusable samples than its fraction allows.
        """
        for entry in entries:
            if entry.reason == "overlap":
                continue
            met = self._note(entry)
            size, fraction = self._sizes[entry.stream], self._fractions[entry.stream]
            if met > fraction * size:
                raise UserError(
                    entry.shard,
                    f"sample {entry.key} is unusable ({entry.reason}: {entry.detail}); "
                    f"{met} of {size} {entry.stream} samples met so far are, more than "
                    f"data.max_corrupt_fraction = {fraction:g} allows.",
                    "Repair or remove the samples, or raise data.max_corrupt_fraction.",
                )

    def _note(self, entry: Quarantined) -> int:
        """Counts the sample once; gives how many of its set are known."""
        met, older = self._met[entry.stream], self._older[entry.stream]
        met.add((entry.shard if entry.ordinal is None else entry.ordinal, entry.index))
        older.discard((_file_name(entry.shard), entry.index))
        return len(met) + len(older)


def shard_now(entry: Quarantined, shards: Sequence[str]) -> str:
    """The path that an entry's shard has today.

    Args:
        entry: of any attempt, perhaps one that read the set elsewhere.
        shards: of the set as it lies now, in order.
    """
    if entry.ordinal is not None:
        return shards[entry.ordinal] if entry.ordinal < len(shards) else entry.shard
    if entry.shard in shards:
        return entry.shard
    alike = [shard for shard in shards if _file_name(shard) == _file_name(entry.shard)]
    return alike[0] if len(alike) == 1 else entry.shard


def _file_name(shard: str) -> str:
    """Of a path or URL; what follows `?` belongs to the store."""
    return shard.partition("?")[0].rpartition("/")[2]
