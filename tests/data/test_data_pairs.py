from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from dist_erase.batch import ImageSpec, PairBatch, StreamName
from dist_erase.config.source import SourceConfig
from dist_erase.config.train import AugmentConfig
from dist_erase.data.captions import CaptionPlan
from dist_erase.data.index import index_set
from dist_erase.data.order import Order
from dist_erase.data.pairs import PairStream, StreamPlan
from dist_erase.errors import UserError

Shards = Callable[..., str]
Change = Callable[[int, dict], None]
Plans = Callable[..., dict[str, StreamPlan]]
Make = Callable[..., PairStream]

RETAIN, FORGET = 12, 6  # batches, and streams
FIELDS = ("images", "tokens", "caption_ids", "image_ids", "labels", "positions", "views")


def characters(texts: list[str]) -> Tensor:
    """A tokenizer that data workers can import; its last number tells whether they import ray."""
    return torch.tensor([[*map(ord, text[-6:].rjust(6)), "ray" in sys.modules] for text in texts])


def plan(pattern: str, name: StreamName, batch: int, **options: object) -> StreamPlan:
    index = index_set(SourceConfig(shards=pattern), where=f"data.{name}")
    captions = CaptionPlan(member="cls", templates=("a {}", "the {}"), classes=("x", "y", "z"))
    order = Order(counts=index.counts, block=4, window=16, streams=batch, batch=batch, seed=5)
    return StreamPlan(name=name, index=index, order=order, captions=captions, **options)


@pytest.fixture
def plans(shards: Shards) -> Plans:
    """Makes the plans of a pair of small sets; `retain` and `forget` are options of theirs."""
    patterns: dict[str, str] = {}

    def build(
        change: Change | None = None,
        retain: dict[str, object] | None = None,
        forget: dict[str, object] | None = None,
    ) -> dict[str, StreamPlan]:
        if not patterns:
            patterns["retain"] = shards([20, 30], "retain", change)
            patterns["forget"] = shards([15], "forget")
        return {
            "retain": plan(patterns["retain"], "retain", RETAIN, **(retain or {})),
            "forget": plan(patterns["forget"], "forget", FORGET, **(forget or {})),
        }

    return build


@pytest.fixture
def make(spec: ImageSpec) -> Iterator[Make]:
    """Makes streams and closes them."""
    streams = []

    def build(plans: dict[str, StreamPlan], **options: object) -> PairStream:
        augment = AugmentConfig(crop=2, flip=True)
        defaults = {"image": spec, "tokenizer": characters, "seed": 5, "augment": augment}
        streams.append(PairStream(**(plans | defaults | options)))
        return streams[-1]

    yield build
    for stream in streams:
        stream.close()


def same(a: PairBatch, b: PairBatch) -> bool:
    return (a.step, a.quarantined) == (b.step, b.quarantined) and all(
        torch.equal(getattr(getattr(a, name), field), getattr(getattr(b, name), field))
        for name in ("retain", "forget")
        for field in FIELDS
    )


def joined(parts: list[PairBatch], name: str, field: str) -> Tensor:
    return torch.cat([getattr(getattr(part, name), field) for part in parts])


def test_a_batch_is_what_the_order_says(plans: Plans, make: Make) -> None:
    first = next(make(plans()))
    assert first.step == 0
    assert first.retain.images.shape == (RETAIN, 3, 8, 8)
    assert first.retain.tokens.shape == (RETAIN, 7)
    assert first.forget is not None
    assert len(first.forget) == FORGET
    order = plans()["retain"].order
    assert first.retain.positions.tolist() == order.at(0).positions.tolist()
    assert first.retain.labels.tolist() == [p % 3 for p in first.retain.positions.tolist()]
    assert first.read_bytes["forget"] > 0


@pytest.mark.parametrize("world", [2, 3, 6])
def test_ranks_concatenated_are_the_batches_of_one_process(
    plans: Plans, make: Make, world: int
) -> None:
    alone = make(plans())
    ranks = [make(plans(), rank=rank, world=world) for rank in range(world)]
    for _ in range(12):
        whole, parts = next(alone), [next(rank) for rank in ranks]
        for name in ("retain", "forget"):
            for field in FIELDS:
                assert torch.equal(joined(parts, name, field), getattr(getattr(whole, name), field))


@pytest.mark.parametrize("start", [1, 4, 9])
def test_a_restart_continues_with_exactly_the_next_batch(
    plans: Plans, make: Make, start: int
) -> None:
    undisturbed = list(islice(make(plans()), start + 5))
    resumed = list(islice(make(plans(), start_step=start, cache_bytes=0), 5))
    assert all(same(a, b) for a, b in zip(undisturbed[start:], resumed, strict=True))


def test_workers_give_the_same_batches_and_never_import_ray(
    plans: Plans, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", sys)  # a rank under Ray has it loaded
    state = torch.random.get_rng_state()
    rank = {"rank": 1, "world": 3, "start_step": 3}  # serves 4 and 2 streams
    streams = [make(plans(), workers=workers, **rank) for workers in (1, 3)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [stream.workers for stream in streams] == [1, 2]
    monkeypatch.delitem(sys.modules, "ray")
    # Compared once all are there: a batch must not change when the workers go on.
    expected, *others = (list(islice(stream, 8)) for stream in (make(plans(), **rank), *streams))
    for batches in others:
        assert all(same(a, b) for a, b in zip(expected, batches, strict=True))
        assert batches[0].retain.tokens[:, -1].sum() == 0


def test_views_change_from_pass_to_pass_and_not_with_the_seed_of_torch(
    plans: Plans, make: Make
) -> None:
    def views(stream: PairStream) -> dict[int, list[Tensor]]:
        seen: dict[int, list[Tensor]] = {}
        for batch in islice(stream, 12):
            for position, image in zip(batch.retain.positions, batch.retain.images, strict=True):
                seen.setdefault(int(position), []).append(image)
        return seen

    torch.manual_seed(1)
    first = views(make(plans()))
    torch.manual_seed(2)
    second = views(make(plans()))
    assert all(torch.equal(a, b) for p in first for a, b in zip(first[p], second[p], strict=True))
    repeated = [images for images in first.values() if len(images) > 1]
    changed = sum(not torch.equal(images[0], images[1]) for images in repeated)
    assert changed > 0.8 * len(repeated)


def test_no_forget_stream_and_no_augmentation(plans: Plans, make: Make) -> None:
    batch = next(make({"retain": plans()["retain"]}, augment=None))
    other = next(make(plans()))
    assert batch.forget is None
    assert list(batch.read_bytes) == ["retain"]
    assert torch.equal(batch.retain.tokens, other.retain.tokens)
    assert not torch.equal(batch.retain.images, other.retain.images)


def corrupt(*numbers: int) -> Callable[[int, dict], None]:
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
    # Here and not above: data workers import this file, and these bring DeepSpeed and Ray along.
    from dist_erase.observability.emit import Metrics
    from dist_erase.training.hooks import record_step

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
    from dist_erase.distributed.context import RankContext
    from dist_erase.training.account import BatchAccount

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


@pytest.mark.parametrize("window", [16, 10_000])
def test_a_pass_reads_little_more_than_the_set_where_the_cache_is_small(
    shards: Shards, make: Make, window: int
) -> None:
    index = index_set(SourceConfig(shards=shards([200], "large")), where="data.retain")
    order = Order(counts=index.counts, block=8, window=window, streams=4, batch=4, seed=0)
    plan = StreamPlan(name="retain", index=index, order=order, captions=CaptionPlan())
    stream = make({"retain": plan}, cache_bytes=index.bytes // 4)
    read = sum(next(stream).read_bytes["retain"] for _ in range(order.run))
    assert read < 2 * index.bytes


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


@pytest.mark.parametrize("workers", [0, 1])
def test_a_failed_read_reaches_the_consumer_as_it_is(
    plans: Plans, make: Make, workers: int
) -> None:
    sets = plans()
    stream = make(sets, workers=workers, cache_bytes=0)
    shard = sets["retain"].index.shards[1].path
    os.rename(shard, shard + ".gone")
    with pytest.raises(FileNotFoundError) as caught:
        list(islice(stream, 30))
    assert caught.value.filename == shard


@pytest.mark.parametrize("workers", [0, 1])
def test_a_changed_shard_reaches_the_consumer_as_a_user_error(
    plans: Plans, make: Make, workers: int
) -> None:
    sets = plans()
    stream = make(sets, workers=workers, cache_bytes=0)
    for shard in sets["retain"].index.shards:
        Path(shard.path).write_bytes(bytes(10))
    with pytest.raises(UserError, match="has changed since it was indexed"):
        list(islice(stream, 30))


def test_a_batch_tells_what_it_took_of_all_data_workers(plans: Plans, make: Make) -> None:
    alone = islice(make(plans()), 4)
    shared = islice(make(plans(), workers=2), 4)
    for one, two in zip(alone, shared, strict=True):
        for batch in (one, two):
            assert batch.work.queries["memory"] == RETAIN + FORGET
            assert 0 <= batch.work.hits.get("memory", 0) < RETAIN + FORGET + (batch.step > 0)
            assert batch.work.seconds > 0
        assert two.work.resident_bytes > 50 * 2**20  # two processes that imported torch
    assert one.work.hits["memory"] == RETAIN + FORGET  # everything has been read once
