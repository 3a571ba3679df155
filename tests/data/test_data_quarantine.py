from __future__ import annotations

import pytest

from dist_erase.batch import Quarantined, StreamName
from dist_erase.data.quarantine import Quarantine
from dist_erase.errors import UserError


def bad(stream: StreamName, index: int, reason: str = "image") -> Quarantined:
    return Quarantined(
        stream=stream, shard="s.tar", index=index, key=f"k{index}", reason=reason, detail="why"
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
