"""What the ranks agree on about a batch before they train on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dist_erase.batch import PairBatch, Quarantined
from dist_erase.data.digest import batch_digest, in_words
from dist_erase.data.quarantine import Quarantine
from dist_erase.distributed.context import RankContext
from dist_erase.errors import StopAsked
from dist_erase.storage import read_json_lines
from dist_erase.training.data_plan import DataPlan

QUARANTINE = "quarantine.jsonl"


@dataclass(frozen=True, kw_only=True)
class Agreed:
    """The same on every rank.

    Attributes:
        stop: why a rank was asked to stop, by the first of them; None = go on.
        digest: of the global batch, 16 hexadecimal digits.
    """

    stop: StopAsked | None
    digest: str


class BatchAccount:
    """Counts unusable samples over all ranks and attempts, and digests global batches.

    Args:
        data: the sets, and the share of them that may be unusable.
        folder: the run folder, whose quarantine.jsonl holds what earlier attempts met.
        context: this rank.
    """

    def __init__(self, data: DataPlan, folder: Path, context: RankContext) -> None:
        plans = [plan for plan in (data.retain, data.forget) if plan is not None]
        self._context = context
        self._quarantine = Quarantine(
            {plan.name: len(plan.index) for plan in plans},
            {plan.name: plan.max_corrupt_fraction for plan in plans},
        )
        # Not judged: what was repaired since must not stop the run again.
        self._quarantine.recall(context.from_first(lambda: read_quarantine(folder)))

    def take(self, batch: PairBatch) -> Agreed:
        """Agrees on the next batch (a collective).

        Raises:
            UserError: more samples are unusable than allowed; on every rank alike.
        """
        context = self._context
        asked = context.should_stop()
        stop, bad, digest = context.sum_integers(
            [
                int(asked is not None),
                len(batch.quarantined),
                batch_digest(batch, rank=context.rank),
            ]
        )
        if bad:
            for entries in context.from_all(batch.quarantined):
                self._quarantine.add(entries)
        reasons = context.from_all(asked) if stop else []  # costs nothing until it is needed
        return Agreed(stop=next(filter(None, reasons), None), digest=in_words(digest))


def read_quarantine(folder: Path) -> list[Quarantined]:
    """The unusable samples that a run has met; [] if none."""
    entries = []
    for row in read_json_lines(folder / QUARANTINE):
        row.pop("step")
        entries.append(Quarantined(**row))
    return entries
