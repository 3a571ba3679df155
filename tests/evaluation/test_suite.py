import pytest
import torch
from torch.nn.functional import normalize

from dist_erase.errors import UserError
from dist_erase.evaluation.embed import ModelEmbeddings
from dist_erase.evaluation.suite import count, measure

TASKS = {"zero_shot", "retrieval", "similarity"}


@pytest.fixture
def sets(make_pairs):
    return {
        "forget": make_pairs(
            image=[[1.0, 0.0], [1.0, 0.0]],
            text=[[0.8, 0.6]] * 2,
            captions=[0, 0],
            images=[0, 1],
            labels=[0, 0],
        ),
        "retain": make_pairs(
            image=[[0.0, 1.0], [0.6, 0.8]],
            text=[[0.9, 0.1]] * 2,
            captions=[1, 1],
            images=[2, 3],
            labels=[1, 1],
        ),
    }


def test_queries_of_a_subset_face_the_whole_held_out_set(sets):
    figures = measure(ModelEmbeddings(sets=sets, class_text=torch.eye(2)))
    assert set(figures) == TASKS
    # Alone the forget images would have one caption only; the retain caption beats it.
    assert figures["retrieval"]["forget"]["image_to_text"]["r1"] == 0.0
    assert figures["zero_shot"]["forget"]["top1"] == 1.0
    assert figures["similarity"]["forget"]["matched"] == pytest.approx(0.8)


def test_further_sets_join_the_gallery_and_untouched_ones_do_not(sets, make_pairs):
    far = make_pairs(image=[[0.0, -1.0]], text=[[1.0, 0.0]], captions=[9], images=[9], labels=[1])
    plain = ModelEmbeddings(sets=sets, class_text=torch.eye(2))
    with_holdout = ModelEmbeddings(sets=sets | {"holdout_identity": far}, class_text=torch.eye(2))
    with_untouched = ModelEmbeddings(sets=sets | {"untouched/x": far}, class_text=torch.eye(2))
    assert count(plain)["forget"] == {
        "pairs": 2,
        "images": 2,
        "captions": 1,
        "mismatched": 8,
        "gallery_images": 4,
        "gallery_captions": 2,
        "classes": 2,
    }
    assert count(with_holdout)["forget"]["gallery_captions"] == 3
    assert count(with_untouched)["forget"] == count(plain)["forget"]
    assert measure(with_untouched)["retrieval"]["forget"] == measure(plain)["retrieval"]["forget"]
    # Its class numbers are another data set's, and its gallery has one caption only.
    assert count(with_untouched)["untouched/x"]["classes"] is None
    assert measure(with_untouched)["zero_shot"]["untouched/x"] is None
    assert count(with_untouched)["untouched/x"]["gallery_captions"] == 1


def test_zero_shot_is_null_without_names_or_labels(sets, make_pairs):
    unnamed = measure(ModelEmbeddings(sets=sets, class_text=None))
    assert unnamed["zero_shot"] == {"forget": None, "retain": None}
    partly = make_pairs(image=[[1.0, 0.0]] * 2, text=[[1.0, 0.0]] * 2, labels=[1, -1])
    model = ModelEmbeddings(sets=sets | {"retain": partly}, class_text=torch.eye(2))
    assert measure(model)["zero_shot"]["retain"] is None
    assert measure(model)["zero_shot"]["forget"] is not None


def test_a_class_without_a_name_is_refused(sets):
    with pytest.raises(UserError) as error:
        measure(ModelEmbeddings(sets=sets, class_text=torch.eye(2)[:1]))
    assert "'retain' holds class number 1, but only 1 class names are given" in str(error.value)


def test_collapse_gives_no_perfect_score_in_any_task(make_pairs):
    n = 20
    point = normalize(torch.ones(n, 4), dim=-1).tolist()
    pairs = make_pairs(image=point, text=point, labels=list(range(n)))
    model = ModelEmbeddings(sets={"forget": pairs}, class_text=torch.tensor(point))
    figures = measure(model)
    assert figures["zero_shot"]["forget"] == {"top1": 0.0, "top5": 0.0}
    for recalls in figures["retrieval"]["forget"].values():
        assert set(recalls.values()) == {0.0}


def test_a_diverged_model_scores_zero(make_pairs):
    pairs = make_pairs(
        image=[[torch.nan, torch.nan]] * 12, text=[[1.0, 0.0]] * 12, labels=list(range(12))
    )
    figures = measure(ModelEmbeddings(sets={"forget": pairs}, class_text=torch.zeros(12, 2)))
    assert figures["zero_shot"]["forget"] == {"top1": 0.0, "top5": 0.0}
    assert figures["retrieval"]["forget"]["image_to_text"]["r10"] == 0.0
