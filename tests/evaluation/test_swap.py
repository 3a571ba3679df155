from dataclasses import replace

import pytest
import torch

from dist_erase.evaluation.embed import ModelEmbeddings
from dist_erase.evaluation.suite import measure
from dist_erase.evaluation.swap import measure_swap


@pytest.fixture
def old(make_pairs):
    """Two classes, perfectly told apart."""
    forget = make_pairs([[1, 0]] * 2, [[1, 0]] * 2, captions=[0, 0], images=[0, 1], labels=[0, 0])
    retain = make_pairs([[0, 1]] * 2, [[0, 1]] * 2, captions=[1, 1], images=[2, 3], labels=[1, 1])
    return ModelEmbeddings(sets={"forget": forget, "retain": retain}, class_text=torch.eye(2))


@pytest.fixture
def new(old):
    """Only the text tower forgot: the forgotten class and caption point elsewhere."""
    forget = old.sets["forget"]
    moved = replace(forget, text=torch.tensor([[-1.0, 0.0]] * 2))
    class_text = torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
    return ModelEmbeddings(sets=old.sets | {"forget": moved}, class_text=class_text)


def test_the_tower_that_did_not_forget_still_finds_the_pairs(new, old):
    assert measure(old)["zero_shot"]["forget"]["top1"] == 1.0
    assert measure(new)["zero_shot"]["forget"]["top1"] == 0.0
    assert measure_swap(new, old) == {
        "new_image_old_text": {"forget": {"top1": 1.0, "r1": 1.0}},
        "old_image_new_text": {"forget": {"top1": 0.0, "r1": 0.0}},
    }


def test_the_new_tower_asks_and_the_old_one_is_the_index(make_pairs):
    # New images beat old texts only in one direction: image 0 finds its text, not the reverse.
    sets = {
        "forget": make_pairs([[0.6, 0.0]], [[1.0, 0.0]], captions=[0], images=[0]),
        "retain": make_pairs([[0.9, 0.1]] * 2, [[0.0, 1.0]] * 2, captions=[1, 2], images=[1, 2]),
    }
    model = ModelEmbeddings(sets=sets, class_text=None)
    swap = measure_swap(model, model)
    assert swap["new_image_old_text"]["forget"]["r1"] == 1.0
    assert swap["old_image_new_text"]["forget"]["r1"] == 0.0


def test_without_class_names_recall_remains(new, old):
    swap = measure_swap(replace(new, class_text=None), replace(old, class_text=None))
    assert swap["new_image_old_text"]["forget"] == {"top1": None, "r1": 1.0}


def test_other_pairs_are_refused(new, old):
    forget = old.sets["forget"]
    other = replace(forget, image_ids=forget.image_ids + 1)
    with pytest.raises(ValueError, match="'forget' holds other pairs"):
        measure_swap(new, replace(old, sets=old.sets | {"forget": other}))
