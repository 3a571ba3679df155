"""How many samples of a set may be unusable before the run stops."""

from __future__ import annotations

from collections.abc import Iterable

from dist_erase.batch import Quarantined, StreamName
from dist_erase.errors import UserError


class Quarantine:
    """Counts the distinct unusable samples that one rank has met, set by set.

    Args:
        sizes: samples in each set.
        fractions: the share of each set that may be unusable.
    """

    def __init__(self, sizes: dict[StreamName, int], fractions: dict[StreamName, float]) -> None:
        self._sizes = sizes
        self._fractions = fractions
        self._met: dict[StreamName, set[tuple[str, int]]] = {name: set() for name in sizes}

    def recall(self, entries: Iterable[Quarantined]) -> None:
        """Counts what an earlier attempt met; raises nothing."""
        for entry in entries:
            if entry.reason != "overlap":
                self._met[entry.stream].add((entry.shard, entry.index))

    def add(self, entries: Iterable[Quarantined]) -> None:
        """Counts entries; those of reason `overlap` are replaced by design and do not count.

        Raises:
            UserError: a set has more unusable samples than its fraction allows.
        """
        for entry in entries:
            if entry.reason == "overlap":
                continue
            met = self._met[entry.stream]
            met.add((entry.shard, entry.index))
            size, fraction = self._sizes[entry.stream], self._fractions[entry.stream]
            if len(met) > fraction * size:
                raise UserError(
                    entry.shard,
                    f"sample {entry.key} is unusable ({entry.reason}: {entry.detail}); "
                    f"{len(met)} of {size} {entry.stream} samples met so far are, more than "
                    f"data.max_corrupt_fraction = {fraction:g} allows.",
                    "Repair or remove the samples, or raise data.max_corrupt_fraction.",
                )
