"""Whatever the pool and the rules: sets share no image, and every sample is accounted for."""

import csv
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from support.pools import photo, read_set, sample, write_pool

from dist_erase.data.sample import image_number
from dist_erase.data.split.job import split_pool
from dist_erase.data.split.plan import PLACES
from dist_erase.data.split.request import ReviewOptions, SplitRequest
from dist_erase.data.split.rules import SetRule, SplitOptions
from dist_erase.errors import UserError

WORDS = ("apple", "pear", "car", "")  # the empty caption makes a sample unusable
# (image, quality, word): few images, so that many samples share one; another quality is another
# file of the same picture.
SAMPLES = st.tuples(st.integers(0, 11), st.sampled_from((60, 90)), st.sampled_from(WORDS))
POOLS = st.lists(st.lists(SAMPLES, min_size=1, max_size=12), min_size=1, max_size=3)


@st.composite
def options(draw):
    eval_fraction = draw(st.sampled_from((0.0, 0.3, 0.5)))
    return SplitOptions(
        forget=SetRule(regexes=("apple",)),
        association=SetRule(regexes=draw(st.sampled_from(((), ("pear", "apple"))))),
        identity=SetRule(labels=draw(st.sampled_from(((), ("1",))))),
        near=draw(st.sampled_from((None, 0.9, 0.97))),
        eval_fraction=eval_fraction,
        reserve_fraction=draw(st.sampled_from((0.0, 0.2))),
        holdout_fraction=draw(st.sampled_from((0.5, 1.0))),
        seed=draw(st.integers(0, 3)),
        shard_size=draw(st.integers(1, 9)),
    )


def make(rows):
    made = [sample(number, f"{word} {number}", number % 3) for number, _, word in rows]
    for members, (number, quality, word) in zip(made, rows, strict=True):
        members["jpg"] = photo(number, quality)
        members["txt"] = f"{word} {number}".encode() if word else b""
    return made


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(shards=POOLS, chosen=options())
def test_sets_share_no_image_and_nothing_is_lost(pixels, shards, chosen):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        source = write_pool(root / "pool", [make(rows) for rows in shards])
        asks = chosen.near is not None
        request = SplitRequest(
            out=root / "out",
            source=source,
            options=chosen,
            teacher=pixels if asks else None,
            reviewing=ReviewOptions(folder=root / "review", yes=True) if asks else None,
        )
        try:
            summary = split_pool(request)
        except UserError as error:
            assert "the set would be empty" in str(error)  # noqa: PT017
            assume(False)
        check(root / "out", shards, chosen, summary, pixels)


def check(out, shards, chosen, summary, pixels):
    found = {place: read_set(out, place) for place in PLACES}
    images = {place: {row["image"] for row in rows} for place, rows in found.items()}
    flat = [image for those in images.values() for image in those]
    assert len(flat) == len(set(flat))

    keys = sorted(row["key"] for rows in found.values() for row in rows)
    left_out = out / "left_out.csv"
    listed = list(csv.DictReader(left_out.open())) if left_out.exists() else []
    expected = [
        f"{shard:05d}-{row:07d}"
        for shard, rows in enumerate(shards)
        for row, (_, _, word) in enumerate(rows)
        if word
    ]
    assert keys == expected
    assert len(listed) == sum(not word for rows in shards for _, _, word in rows)
    assert summary.samples == {place: len(rows) for place, rows in found.items() if rows}

    forgotten = images["train/forget"] | images["eval/forget"] | images["reserve/forget"]
    for rows in shards:
        for number, quality, word in rows:
            if word == "apple":
                assert image_number(photo(number, quality)) in forgotten
    if chosen.near is not None:
        kept = {image for place in PLACES if "forget" not in place for image in images[place]}
        assert highest_cosine(shards, forgotten, kept, pixels) < chosen.near + 1e-3


def highest_cosine(shards, forgotten, kept, pixels):
    """Naive: all pairs, embeddings as the teacher gives them."""
    import torch

    from dist_erase.data.decode import decode_image

    vectors = {}
    for number, quality, word in (row for rows in shards for row in rows):
        encoded = photo(number, quality)
        if word:
            image = torch.from_numpy(decode_image(encoded, pixels.image).copy()).permute(2, 0, 1)
            vectors[image_number(encoded)] = pixels.embed_images(image[None])[0].numpy()
    pairs = [(a, b) for a in forgotten for b in kept]
    return max((float(np.dot(vectors[a], vectors[b])) for a, b in pairs), default=-1.0)
