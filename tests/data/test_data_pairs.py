from __future__ import annotations

import os
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
from support.pair_streams import FIELDS, FORGET, RETAIN, Make, Plans, Shards, joined, same
from torch import Tensor

from dist_erase.config.source import SourceConfig
from dist_erase.data.captions import CaptionPlan
from dist_erase.data.index import index_set
from dist_erase.data.order import Order
from dist_erase.data.pairs import PairStream, StreamPlan
from dist_erase.errors import UserError


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
