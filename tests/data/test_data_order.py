from __future__ import annotations

import pickle
import time

import numpy as np
import pytest

from dist_erase.data.order import Order
from dist_erase.data.sharing import allowed_worlds, check_world, choose_streams
from dist_erase.errors import UserError


def order(**changes: object) -> Order:
    values = {"counts": (10, 7, 5), "block": 4, "window": 8, "streams": 4, "batch": 4, "seed": 0}
    return Order(**(values | changes))


def test_the_order_is_fixed_forever() -> None:
    # A change of these numbers needs a new ORDER_VERSION: runs in flight could not be continued.
    assert order().at(0).positions.tolist() == [1, 6, 16, 13]
    assert order().at(23).positions.tolist() == [16, 10, 0, 17]
    assert order(window=100).at(6).positions.tolist() == [18, 12, 17, 21]


def test_numbers_of_a_pass() -> None:
    small = order(batch=8)
    assert (small.size, small.run, small.left_out, small.per_stream) == (22, 5, 2, 2)
    assert small.passes_after(10) == 4.0
    assert small.steps_for(1.0) == 3
    assert order().steps_for(2.0) == 10


def test_the_order_survives_pickling() -> None:
    assert pickle.loads(pickle.dumps(order())).at(3).positions.tolist() == (
        order().at(3).positions.tolist()
    )


def test_seeking_far_costs_no_more_than_the_next_step() -> None:
    big = order(counts=(20_000,) * 10, block=64, window=4096, streams=64, batch=64)
    big.at(0)
    begin = time.process_time()
    far = big.at(10**12)
    assert time.process_time() - begin < 1.0
    assert far.passes.min() == 10**12 // big.run


def test_a_cache_of_a_few_blocks_a_stream_reads_every_block_about_once() -> None:
    big = order(counts=(100_000,), block=64, window=4096, streams=64, batch=64)
    cache: dict[int, None] = {}
    reads = 0
    for step in range(big.run):
        for block in (big.at(step).positions // 64).tolist():
            reads += block not in cache
            cache[block] = cache.pop(block, None)  # now the most recent
            if len(cache) > 3 * big.streams:
                del cache[next(iter(cache))]
    # Streams begin and end inside blocks, so up to V of them are read by two.
    assert reads <= 1.05 * (100_000 / 64 + big.streams)


def test_blocks_are_not_read_in_file_order() -> None:
    big = order(counts=(100_000,), block=64, window=1, streams=1, batch=1)
    blocks = [int(big.at(step).positions[0]) // 64 for step in range(0, 6400, 64)]
    assert np.mean(np.diff(blocks) == 1) < 0.1


def test_a_set_within_the_window_is_shuffled_sample_by_sample() -> None:
    small = order(counts=(512,), block=64, window=512, streams=8, batch=8)
    blocks = small.at(0, range(0, 8)).positions // 64
    first_run = np.concatenate([small.at(s, range(0, 1)).positions for s in range(64)]) // 64
    assert len(set(first_run.tolist())) == 8
    assert len(blocks) == 8


@pytest.mark.parametrize(
    ("batch", "asked", "streams"),
    [(32, "auto", 32), (96, "auto", 96), (1000, "auto", 250), (96, 8, 8)],
)
def test_choice_of_streams(batch: int, asked: object, streams: int) -> None:
    assert choose_streams(batch, asked, where="train.retain_batch") == streams


def test_streams_must_divide_the_batch() -> None:
    with pytest.raises(
        UserError, match=r"5 streams do not divide train.forget_batch = 12\."
    ) as caught:
        choose_streams(12, 5, where="train.forget_batch")
    assert "1, 2, 3, 4, 6, 12" in caught.value.mend
    assert caught.value.where == "data.streams"


def test_a_set_smaller_than_its_batch_is_refused_with_the_largest_that_fits() -> None:
    with pytest.raises(UserError, match="a batch of 32 does not fit a set of 22") as caught:
        order(batch=32, streams=32, where="train.forget_batch")
    assert caught.value.where == "train.forget_batch"
    assert "Set train.forget_batch to 22 or less" in caught.value.mend


def test_worlds_that_share_both_sets() -> None:
    forget = order(counts=(100,), streams=12, batch=12, where="train.forget_batch")
    retain = order(counts=(100,), streams=32, batch=32, where="train.retain_batch")
    assert allowed_worlds(forget, retain) == [1, 2, 4]
    check_world(2, forget, retain, where="ray.workers")
    with pytest.raises(
        UserError, match=r"3 ranks cannot share .*12 of train.forget_batch"
    ) as caught:
        check_world(3, forget, retain, where="ray.workers")
    assert caught.value.mend == "Choose one of 1, 2, 4."
