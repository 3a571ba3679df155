"""What the order promises, for any sizes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dist_erase.data.draws import BLOCKS, SAMPLES, draw, permutation
from dist_erase.data.order import Order
from dist_erase.data.sharing import allowed_worlds, share


@st.composite
def orders(choose: st.DrawFn) -> Order:
    streams = choose(st.integers(1, 12))
    batch = streams * choose(st.integers(1, 4))
    counts = choose(st.lists(st.integers(1, 40), min_size=1, max_size=6))
    counts[0] += max(0, batch - sum(counts))
    return Order(
        counts=tuple(counts),
        block=choose(st.integers(1, 50)),
        window=choose(st.integers(1, 300)),
        streams=streams,
        batch=batch,
        seed=choose(st.integers(0, 2**63)),
    )


def stream_of_pass(order: Order, number: int, stream: int) -> list[int]:
    """The samples that one stream takes in one pass, in turn."""
    first, stop = number * order.run, (number + 1) * order.run
    served = range(stream, stream + 1)
    steps = range(first // order.per_stream, -(-stop // order.per_stream))
    places = [order.at(step, served) for step in steps]
    positions = np.concatenate([place.positions for place in places])
    return positions[np.concatenate([place.passes for place in places]) == number].tolist()


@settings(deadline=None)
@given(orders(), st.integers(0, 50))
def test_a_pass_sees_every_sample_at_most_once_and_leaves_out_fewer_than_v(
    order: Order, number: int
) -> None:
    runs = [stream_of_pass(order, number, stream) for stream in range(order.streams)]
    assert [len(run) for run in runs] == [order.run] * order.streams
    seen = [position for run in runs for position in run]
    assert len(set(seen)) == len(seen) == order.size - order.left_out
    assert set(seen) <= set(range(order.size))
    assert order.left_out < order.streams


@settings(deadline=None)
@given(orders(), st.integers(0, 10**6))
def test_global_batches_are_the_same_for_every_world_and_number_of_workers(
    order: Order, step: int
) -> None:
    whole = order.at(step)
    assert len(whole.positions) == order.batch
    for world in allowed_worlds(order):
        rank_streams = order.streams // world
        for workers in (n for n in range(1, rank_streams + 1) if rank_streams % n == 0):
            parts = [
                order.at(step, share(order.streams, part, world * workers))
                for part in range(world * workers)
            ]
            for name in ("positions", "passes", "slots"):
                joined = np.concatenate([getattr(part, name) for part in parts])
                assert joined.tolist() == getattr(whole, name).tolist()


@settings(deadline=None)
@given(orders(), st.integers(0, 200), st.data())
def test_a_restart_at_any_step_on_another_world_loses_and_repeats_nothing(
    order: Order, steps: int, data: st.DataObject
) -> None:
    """Every stream's turns are consecutive, across passes and whoever serves it."""
    worlds = data.draw(st.lists(st.sampled_from(allowed_worlds(order)), min_size=2, max_size=4))
    stream = data.draw(st.integers(0, order.streams - 1))
    places = []
    for step in range(steps, steps + len(worlds)):
        world = worlds[step - steps]
        width = order.streams // world
        served = share(order.streams, stream // width, world)
        mine = order.at(step, served)
        row = (stream - served.start) * order.per_stream
        chosen = slice(row, row + order.per_stream)
        places += list(zip(mine.passes[chosen], mine.slots[chosen], strict=True))
    turns = [number * order.run + slot - stream * order.run for number, slot in places]
    first = steps * order.per_stream
    assert turns == list(range(first, first + len(turns)))


@settings(deadline=None)
@given(orders())
def test_a_batch_within_one_pass_holds_no_sample_twice(order: Order) -> None:
    for step in range(3):
        places = order.at(step)
        if len(set(places.passes.tolist())) == 1:
            assert len(set(places.positions.tolist())) == order.batch


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32), st.sampled_from([16, 10**4]))
def test_two_passes_two_seeds_and_two_streams_differ(seed: int, window: int) -> None:
    first = Order(counts=(300, 300), block=16, window=window, streams=4, batch=4, seed=seed)
    other = Order(counts=(300, 300), block=16, window=window, streams=4, batch=4, seed=seed + 1)
    one, two = (stream_of_pass(first, number, 0) for number in (0, 1))
    assert one != two
    assert one != stream_of_pass(other, 0, 0)
    assert set(one).isdisjoint(stream_of_pass(first, 0, 1))


def naive_pass(order: Order, number: int) -> list[int]:
    """The whole pass listed at once, sample by sample."""
    blocks, first = [], 0
    for count in order.counts:
        for start in range(0, count, order.block):
            blocks.append(range(first + start, first + min(start + order.block, count)))
        first += count
    used = order.run * order.streams
    if order.size <= order.window:
        return permutation(order.size, order.seed, SAMPLES, number)[:used].tolist()
    listed = [p for b in permutation(len(blocks), order.seed, BLOCKS, number) for p in blocks[b]]
    keys = draw(order.seed, SAMPLES, number, np.arange(order.size)).tolist()
    width = -(-order.window // order.streams)
    positions = []
    for stream in range(order.streams):
        for start in range(0, order.run, width):
            places = range(stream * order.run + start, stream * order.run + order.run)[:width]
            positions += [listed[place] for place in sorted(places, key=keys.__getitem__)]
    return positions


@settings(deadline=None)
@given(orders(), st.integers(0, 9))
def test_the_windows_at_hand_are_those_of_the_whole_list(order: Order, number: int) -> None:
    expected = naive_pass(order, number)
    for stream in range(order.streams):
        run = expected[stream * order.run : (stream + 1) * order.run]
        assert stream_of_pass(order, number, stream) == run
