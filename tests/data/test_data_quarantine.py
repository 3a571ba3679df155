from __future__ import annotations

import pytest

from dist_erase.batch import Quarantined, StreamName
from dist_erase.data.quarantine import Quarantine, shard_now
from dist_erase.errors import UserError


def bad(
    stream: StreamName,
    index: int,
    reason: str = "image",
    shard: str = "s.tar",
    ordinal: int | None = 0,
) -> Quarantined:
    return Quarantined(
        stream=stream,
        shard=shard,
        index=index,
        key=f"k{index}",
        reason=reason,
        detail="why",
        ordinal=ordinal,
    )


def test_distinct_samples_are_counted_set_by_set() -> None:
    quarantine = Quarantine({"forget": 10, "retain": 100}, {"forget": 0.1, "retain": 0.02})
    quarantine.add([bad("retain", 1), bad("retain", 1), bad("retain", 2), bad("forget", 1)])
    quarantine.add([bad("retain", 2)])
    with pytest.raises(UserError, match="3 of 100 retain samples") as caught:
        quarantine.add([bad("retain", 3)])
    text = str(caught.value)
    assert text.startswith("s.tar: sample k3 is unusable (image: why)")
    assert "data.max_corrupt_fraction = 0.02" in text


def test_with_fraction_zero_the_first_one_stops_the_run() -> None:
    with pytest.raises(UserError, match="1 of 10 forget samples"):
        Quarantine({"forget": 10}, {"forget": 0.0}).add([bad("forget", 0)])


def test_shared_images_do_not_count() -> None:
    quarantine = Quarantine({"retain": 10}, {"retain": 0.0})
    quarantine.add([bad("retain", index, "overlap") for index in range(10)])


@pytest.mark.parametrize("ordinal", [3, None])
def test_a_run_that_goes_on_elsewhere_counts_each_sample_once(ordinal: int | None) -> None:
    quarantine = Quarantine({"forget": 10}, {"forget": 0.2})
    old = [bad("forget", index, shard="/mnt/a/7.tar", ordinal=ordinal) for index in (1, 2)]
    quarantine.recall(old)
    moved = [bad("forget", index, shard="s3://b/7.tar?v=2", ordinal=3) for index in (1, 2)]
    quarantine.add(moved)
    quarantine.recall(moved)  # and it is resumed once more
    quarantine.add(moved)
    with pytest.raises(UserError, match="3 of 10 forget samples"):
        quarantine.add([bad("forget", 5, shard="s3://b/7.tar", ordinal=3)])


@pytest.mark.parametrize("ordinals", [(0, 1), (None, None)])
def test_shards_of_one_name_in_two_folders_are_two(ordinals: tuple[int | None, ...]) -> None:
    quarantine = Quarantine({"retain": 10}, {"retain": 0.1})
    first, second = (
        bad("retain", 4, shard=f"/{folder}/0.tar", ordinal=ordinal)
        for folder, ordinal in zip("ab", ordinals, strict=True)
    )
    quarantine.add([first])
    with pytest.raises(UserError, match="2 of 10 retain samples"):
        quarantine.add([second])


def test_what_was_met_before_counts() -> None:
    for ordinal in (0, None):
        quarantine = Quarantine({"retain": 10}, {"retain": 0.1})
        quarantine.recall([bad("retain", 1, ordinal=ordinal)])
        with pytest.raises(UserError, match="2 of 10 retain samples"):
            quarantine.add([bad("retain", 2)])


def test_entries_find_their_shard_where_it_lies_now() -> None:
    now = ["s3://b/x/0.tar", "s3://b/x/1.tar", "s3://b/y/1.tar"]
    assert shard_now(bad("forget", 1, shard="/mnt/a/old.tar", ordinal=1), now) == now[1]
    assert shard_now(bad("forget", 1, shard="/mnt/a/0.tar", ordinal=None), now) == now[0]
    assert shard_now(bad("forget", 1, shard=now[2], ordinal=None), now) == now[2]
    unknown = bad("forget", 1, shard="/mnt/a/1.tar", ordinal=None)  # two could be it
    assert shard_now(unknown, now) == "/mnt/a/1.tar"
    assert shard_now(bad("forget", 1, shard="/mnt/a/0.tar", ordinal=9), now) == "/mnt/a/0.tar"
