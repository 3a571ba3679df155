import torch

from dist_erase.evaluation.zeroshot import zero_shot


def test_hand_made_table():
    # Six classes, one axis each, so that an image's similarities are its own numbers.
    image = torch.tensor(
        [
            [0.9, 0.1, 0.0, 0.2, 0.3, 0.4],  # class 0 is first
            [0.9, 0.1, 0.0, 0.2, 0.3, 0.4],  # class 1 is fifth
            [0.9, 0.1, 0.0, 0.2, 0.3, 0.4],  # class 2 is sixth
            [0.5, 0.5, 0.1, 0.1, 0.1, 0.1],  # classes 0 and 1 tie
        ]
    )
    figures = zero_shot(image, torch.tensor([0, 1, 2, 0]), torch.eye(6))
    assert figures == {"top1": 0.25, "top5": 0.75}


def test_a_collapsed_model_scores_zero():
    one_point = torch.zeros(12, 4)
    one_point[:, 0] = 1.0
    figures = zero_shot(one_point, torch.arange(12), one_point)
    assert figures == {"top1": 0.0, "top5": 0.0}


def test_top5_of_five_classes_is_not_a_figure():
    image = torch.eye(5)
    assert zero_shot(image, torch.arange(5), image) == {"top1": 1.0, "top5": None}
    one_class = zero_shot(image, torch.zeros(5, dtype=torch.int64), image[:1])
    assert one_class == {"top1": None, "top5": None}
