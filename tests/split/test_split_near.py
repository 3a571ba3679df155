"""Near-duplicates against a naive search, chains included."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from dist_erase.data.split.embeddings import ImageEmbeddings
from dist_erase.data.split.near_duplicates import find_near

ANGLES = st.lists(st.integers(0, 359), min_size=2, max_size=25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("near")


def embeddings_of(folder, degrees, cut):
    """Points of the unit circle in two files."""
    points = np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)
    files = []
    for number, rows in enumerate((points[:cut], points[cut:])):
        path = folder / f"{number}.npz"
        with path.open("wb") as stream:
            np.savez(stream, embeddings=rows.astype(np.float16))
        files.append((number * cut, path))
    return ImageEmbeddings(files=files)


def naive(degrees, forget, apart, limit):
    """Which units are moved, and which would be if nobody had kept them apart; whole degrees."""
    inside = set(forget)
    while True:
        close = {
            unit
            for unit in range(len(degrees))
            for other in inside
            if unit not in inside and distance(degrees[unit], degrees[other]) <= limit
        }
        if not close - apart:
            return inside - set(forget), close & apart
        inside |= close - apart


def distance(a, b):
    return min((a - b) % 360, (b - a) % 360)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(degrees=ANGLES, data=st.data())
def test_the_same_as_a_naive_search(folder, degrees, data):
    units = range(len(degrees))
    forget = data.draw(st.sets(st.sampled_from(units), min_size=1))
    apart = data.draw(st.sets(st.sampled_from(units))) - forget
    limit = data.draw(st.integers(1, 40))
    embeddings = embeddings_of(folder, degrees, data.draw(st.integers(1, len(degrees) - 1)))
    found = find_near(
        embeddings,
        np.isin(units, list(forget)),
        at_least=float(np.cos(np.radians(limit + 0.5))),  # half a degree is finer than fp16
        kept_apart=np.isin(units, list(apart)),
    )
    moved = {one.unit for one in found if not one.kept_apart}
    assert (moved, {one.unit for one in found if one.kept_apart}) == naive(
        degrees, forget, apart, limit
    )
    seen = set(forget)
    for one in found:  # anchors come before those that resemble them
        assert one.anchor in seen
        assert distance(degrees[one.unit], degrees[one.anchor]) <= limit
        if not one.kept_apart:
            seen.add(one.unit)


def test_the_most_similar_forget_image_is_the_anchor(folder):
    embeddings = embeddings_of(folder, [0, 10, 12, 90], 2)
    [one] = find_near(
        embeddings,
        np.array([True, True, False, False]),
        at_least=0.9,
        kept_apart=np.zeros(4, bool),
    )
    assert (one.unit, one.anchor) == (2, 1)
    assert one.cosine == pytest.approx(np.cos(np.radians(2)), abs=1e-3)
