import math

import pytest

from dist_erase.evaluation import ranking
from dist_erase.evaluation.embed import join
from dist_erase.evaluation.similarity import mismatched_count, mismatched_similarity, similarity


def test_hand_made_table(make_pairs):
    forget = make_pairs(image=[[1.0, 0.0]], text=[[0.6, 0.8]], captions=[0], images=[0])
    retain = make_pairs(image=[[0.0, 1.0]], text=[[0.2, 0.9]], captions=[1], images=[1])
    gallery = join([forget, retain])
    # Forget image to retain text 0.2, retain image to forget text 0.8.
    assert similarity(forget, gallery) == pytest.approx({"matched": 0.6, "mismatched": 0.5})
    assert mismatched_count(forget, gallery) == 2


@pytest.mark.parametrize(
    "same", [{"captions": [3, 3]}, {"images": [3, 3]}, {"labels": [3, 3]}], ids=str
)
def test_pairs_that_may_belong_together_are_left_out(make_pairs, same):
    pairs = make_pairs(image=[[1.0, 0.0], [0.0, 1.0]], text=[[1.0, 0.0], [0.0, 1.0]], **same)
    assert mismatched_similarity(pairs, pairs) is None
    assert mismatched_count(pairs, pairs) == 0


def test_two_pairs_without_a_class_are_not_of_an_equal_class(make_pairs):
    pairs = make_pairs(image=[[1.0, 0.0], [0.0, 1.0]], text=[[0.5, 0.0], [0.0, 0.5]])
    assert mismatched_count(pairs, pairs) == 4
    assert mismatched_similarity(pairs, pairs) == 0.0


def test_nan_embeddings_give_nan_not_a_number_that_looks_well(make_pairs):
    pairs = make_pairs(image=[[math.nan, 0.0], [0.0, 1.0]], text=[[1.0, 0.0], [0.0, 1.0]])
    figures = similarity(pairs, pairs)
    assert math.isnan(figures["matched"])
    assert math.isnan(figures["mismatched"])


def naive_mismatched(queries, gallery):
    values = []
    for i in range(len(queries)):
        for j in range(len(gallery)):
            label = int(queries.labels[i])
            if (
                queries.caption_ids[i] != gallery.caption_ids[j]
                and queries.image_ids[i] != gallery.image_ids[j]
                and (label < 0 or label != int(gallery.labels[j]))
            ):
                values.append(float(queries.image[i] @ gallery.text[j]))
                values.append(float(gallery.image[j] @ queries.text[i]))
    return sum(values) / len(values), len(values)


@pytest.mark.parametrize("chunk", [2**24, 100])
def test_equals_the_naive_loop(random_pairs, monkeypatch, chunk):
    monkeypatch.setattr(ranking, "_CHUNK_ELEMENTS", chunk)
    forget = random_pairs(13, seed=3)
    gallery = join([forget, random_pairs(40, seed=4, first_id=4)])
    mean, count = naive_mismatched(forget, gallery)
    assert mismatched_similarity(forget, gallery) == pytest.approx(mean, abs=1e-7)
    assert mismatched_count(forget, gallery) == count
