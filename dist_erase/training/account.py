"""What the ranks agree on about a batch before they train on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dist_erase.batch import PairBatch, Quarantined
from dist_erase.data.digest import batch_digest, in_words
from dist_erase.data.quarantine import Quarantine
from dist_erase.distributed.context import RankContext
from dist_erase.storage import read_json_lines
from dist_erase.training.data_plan import DataPlan

QUARANTINE = "quarantine.jsonl"


@dataclass(frozen=True, kw_only=True)
class Agreed:
    """The same on every rank.

    Attributes:
        stop: a rank was asked to stop.
        digest: of the global batch, 16 hexadecimal digits.
    """

    stop: bool
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
        stop, bad, digest = context.sum_integers(
            [
                int(context.should_stop()),
                len(batch.quarantined),
                batch_digest(batch, rank=context.rank),
            ]
        )
        if bad:
            for entries in context.from_all(batch.quarantined):
                self._quarantine.add(entries)
        return Agreed(stop=stop > 0, digest=in_words(digest))


def read_quarantine(folder: Path) -> list[Quarantined]:
    """The unusable samples that a run has met; [] if none."""
    entries = []
    for row in read_json_lines(folder / QUARANTINE):
        row.pop("step")
        entries.append(Quarantined(**row))
    return entries
