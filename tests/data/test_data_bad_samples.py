"""Samples that cannot or must not be used: replaced in their slots, listed, counted, limited."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.pair_streams import Change, Make, Plans, joined

from dist_erase.distributed.context import RankContext
from dist_erase.errors import UserError
from dist_erase.observability.emit import Metrics
from dist_erase.training.account import BatchAccount
from dist_erase.training.hooks import record_step


def corrupt(*numbers: int) -> Change:
    def change(number: int, sample: dict) -> None:
        if number in numbers:
            sample["jpg"] = sample["jpg"][:40]

    return change


def test_bad_samples_are_replaced_in_their_slots_and_reported(plans: Plans, make: Make) -> None:
    tolerant = plans(corrupt(3, 17, 44), retain={"max_corrupt_fraction": 0.1})
    batches = list(islice(make(tolerant), 8))
    met = 0
    for batch in batches:
        planned = tolerant["retain"].order.at(batch.step).positions.tolist()
        given = batch.retain.positions.tolist()
        moved = [p for p, g in zip(planned, given, strict=True) if p != g]
        assert sorted(moved) == sorted(set(planned) & {3, 17, 44})
        assert not {3, 17, 44} & set(given)
        assert len(batch.quarantined) >= len(moved)
        met += len(moved)
    assert met >= 3
    entries = [entry for batch in batches for entry in batch.quarantined]
    assert {(e.stream, Path(e.shard).name, e.index, e.key, e.reason) for e in entries} == {
        ("retain", "000.tar", 3, "00003", "image"),
        ("retain", "000.tar", 17, "00017", "image"),
        ("retain", "001.tar", 24, "00024", "image"),
    }
    # Pure in the slot: other ranks and other starts replace alike.
    ranks = [make(tolerant, rank=rank, world=2, start_step=2) for rank in range(2)]
    for whole in batches[2:]:
        parts = [next(rank) for rank in ranks]
        assert torch.equal(joined(parts, "retain", "images"), whole.retain.images)
        assert parts[0].quarantined + parts[1].quarantined == whole.quarantined


def test_bad_samples_are_counted_by_stream_and_reason(plans: Plans, make: Make) -> None:
    metrics = Metrics(run="r", role="student", rank=0)
    tolerant = plans(corrupt(3, 17, 44), retain={"max_corrupt_fraction": 0.1})
    batches = list(islice(make(tolerant), 8))
    for batch in batches:
        row: Any = {"step": batch.step + 1, "seconds": {"step": 0.1}}
        record_step(metrics, row, batch, None)
    told = {
        (sample.labels["stream"], sample.labels["reason"]): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "dist_erase_corrupt_samples_total"
    }
    assert told == {("retain", "image"): sum(len(batch.quarantined) for batch in batches)}
    assert told["retain", "image"] >= 3


@pytest.mark.parametrize(
    ("allowed", "bad", "workers", "message"),
    [
        (0.05, (3, 17, 44), 0, r"3 of 50 retain samples met so far"),
        (0.0, (3,), 0, r"sample 00003 is unusable \(image: "),
        (0.0, (3,), 2, r"sample 00003 is unusable \(image: "),
    ],
)
def test_more_bad_samples_than_allowed_stop_the_run_where_they_are_trained_on(
    plans: Plans,
    make: Make,
    tmp_path: Path,
    allowed: float,
    bad: tuple[int, ...],
    workers: int,
    message: str,
) -> None:
    """Not where they are read ahead: they are listed first, and all ranks end alike."""
    chosen = plans(corrupt(*bad), retain={"max_corrupt_fraction": allowed})
    account = BatchAccount(
        SimpleNamespace(**chosen),  # type: ignore[arg-type]  # two plans are all it asks for
        tmp_path,
        RankContext(rank=0, world=1, device=torch.device("cpu")),
    )
    batches = list(islice(make(chosen, workers=workers), 8))
    with pytest.raises(UserError, match=message) as caught:
        list(map(account.take, batches))
    if bad == (3,):
        assert Path(caught.value.where).name == "000.tar"
    assert "data.max_corrupt_fraction" in caught.value.mend


def test_a_set_without_a_usable_sample_is_an_error_not_a_hang(plans: Plans, make: Make) -> None:
    stream = make(plans(corrupt(*range(50)), retain={"max_corrupt_fraction": 1.0}))
    with pytest.raises(UserError, match="100 retain samples in a row are unusable"):
        next(stream)


def test_forbidden_images_are_replaced_and_do_not_count(plans: Plans, make: Make) -> None:
    images = {
        int(p): int(i)
        for batch in islice(make(plans()), 8)
        for p, i in zip(batch.retain.positions, batch.retain.image_ids, strict=True)
    }
    shared = frozenset(images[position] for position in (2, 30, 41))
    batches = list(islice(make(plans(retain={"forbidden_images": shared})), 8))
    assert {q.reason for batch in batches for q in batch.quarantined} == {"overlap"}
    assert not shared & {int(i) for batch in batches for i in batch.retain.image_ids}
