from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from dist_erase.evaluation import ranking
from dist_erase.evaluation.embed import join
from dist_erase.evaluation.ranking import TIE
from dist_erase.evaluation.retrieval import retrieval


def test_hand_made_table(make_pairs):
    # Texts are the axes, so that an image's numbers are its similarities to captions 0, 1, 2.
    pairs = make_pairs(
        image=[[0.9, 0.2, 0.1], [0.8, 0.7, 0.1], [0.3, 0.6, 0.5]],
        text=[[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    )
    figures = retrieval(pairs, pairs)
    assert figures["image_to_text"]["r1"] == pytest.approx(1 / 3)  # only image 0
    assert figures["text_to_image"]["r1"] == pytest.approx(1.0)  # the columns' maxima: 0, 1, 2


def test_equal_captions_are_one_item_and_all_their_images_are_hits(make_pairs):
    # Caption 7 belongs to images 0 and 1; image 1's text vector differs by noise only.
    pairs = make_pairs(
        image=[[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]],
        text=[[1.0, 0.0], [1.0 - 1e-7, 0.0], [0.0, 1.0]],
        captions=[7, 7, 8],
    )
    figures = retrieval(pairs, pairs)
    assert figures["image_to_text"]["r1"] == 1.0
    assert figures["text_to_image"]["r1"] == 1.0


def test_every_caption_of_the_same_image_is_a_hit(make_pairs):
    # One image with two captions, of which only the first is near it.
    pairs = make_pairs(
        image=[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]],
        text=[[1.0, 0.0], [0.0, 0.9], [0.0, 1.0]],
        images=[4, 4, 5],
    )
    figures = retrieval(pairs, pairs)
    assert figures["image_to_text"]["r1"] == 1.0
    assert figures["text_to_image"]["r1"] == pytest.approx(2 / 3)


def test_the_gallery_is_wider_than_the_queries(make_pairs):
    forget = make_pairs(image=[[1.0, 0.0]], text=[[0.8, 0.6]], captions=[0], images=[0])
    retain = make_pairs(image=[[0.0, 1.0]], text=[[0.9, 0.1]], captions=[1], images=[1])
    assert retrieval(forget, join([forget, retain]))["image_to_text"]["r1"] == 0.0


def test_a_depth_beyond_the_gallery_is_not_a_figure(make_pairs):
    pairs = make_pairs(image=torch.eye(6).tolist(), text=torch.eye(6).tolist(), captions=[0] * 6)
    figures = retrieval(pairs, pairs)
    assert figures["image_to_text"] == {"r1": None, "r5": None, "r10": None}  # one caption
    assert figures["text_to_image"] == {"r1": 1.0, "r5": 1.0, "r10": None}  # six images


def test_a_collapsed_model_scores_zero(make_pairs):
    pairs = make_pairs(image=[[1.0, 0.0]] * 30, text=[[0.6, 0.8]] * 30)
    for recalls in retrieval(pairs, pairs).values():
        assert recalls == {"r1": 0.0, "r5": 0.0, "r10": 0.0}


def naive_recall(queries, gallery, k, image_to_text):
    """The definition, pair by pair: rank distinct items, right before wrong only if above."""
    hits = 0
    for i in range(len(queries)):
        best: dict[int, float] = {}
        right = set()
        for j in range(len(gallery)):
            same_image = queries.image_ids[i] == gallery.image_ids[j]
            same_caption = queries.caption_ids[i] == gallery.caption_ids[j]
            if image_to_text:
                item = int(gallery.caption_ids[j])
                score = float(queries.image[i] @ gallery.text[j])
            else:
                item = int(gallery.image_ids[j])
                score = float(queries.text[i] @ gallery.image[j])
            best.setdefault(item, score)
            # An image's own captions are right, and for a caption every image with an equal one.
            if same_image if image_to_text else same_caption:
                right.add(item)
        own = max(best[item] for item in right)
        ahead = sum(s >= own - TIE for item, s in best.items() if item not in right)
        hits += ahead < k
    return hits / len(queries)


@pytest.mark.parametrize("chunk", [2**24, 100])
def test_equals_the_naive_loop(random_pairs, monkeypatch, chunk):
    monkeypatch.setattr(ranking, "_CHUNK_ELEMENTS", chunk)
    forget, retain = random_pairs(13, seed=1), random_pairs(40, seed=2, first_id=4)
    gallery = join([forget, retain])
    figures = retrieval(forget, gallery)
    for k in (1, 5, 10):
        assert figures["image_to_text"][f"r{k}"] == naive_recall(forget, gallery, k, True)
        assert figures["text_to_image"][f"r{k}"] == naive_recall(forget, gallery, k, False)


def test_the_order_of_the_gallery_does_not_matter(random_pairs):
    forget, retain = random_pairs(13, seed=1), random_pairs(40, seed=2, first_id=100)
    # Texts and images as a real model gives them: a function of caption and image alone.
    generator = torch.Generator().manual_seed(3)
    table = normalize(torch.randn(200, 8, generator=generator), dim=-1)
    sets = [
        replace(pairs, image=table[pairs.image_ids].flip(-1), text=table[pairs.caption_ids])
        for pairs in (forget, retain)
    ]
    assert retrieval(sets[0], join(sets)) == retrieval(sets[0], join(sets[::-1]))
