import torch

from dist_erase.evaluation.ranking import (
    _CHUNK_ELEMENTS,
    TIE,
    hit_rate,
    rivals_ahead,
    row_chunks,
)

FIRST_RIGHT = torch.tensor([[True, False, False, False]])


def test_counts_wrong_items_ahead_of_the_best_right_one():
    similarity = torch.tensor([[0.5, 0.9, 0.7, 0.1]])
    assert rivals_ahead(similarity, FIRST_RIGHT).tolist() == [2]
    two_right = torch.tensor([[True, False, True, False]])
    assert rivals_ahead(similarity, two_right).tolist() == [1]


def test_ties_are_misses_wherever_the_right_item_stands():
    similarity = torch.full((4, 4), 0.3)
    assert rivals_ahead(similarity, torch.eye(4, dtype=torch.bool)).tolist() == [3, 3, 3, 3]


def test_ties_up_to_the_noise_of_fp32_embeddings_are_ties():
    similarity = torch.tensor([[0.5, 0.5 - TIE / 4, 0.5 - 4 * TIE, 0.0]])
    assert rivals_ahead(similarity, FIRST_RIGHT).tolist() == [1]


def test_nan_is_never_below():
    nan = torch.nan
    similarity = torch.tensor([[nan, 0.1, 0.1, 0.1], [0.5, nan, 0.1, 0.1]])
    assert rivals_ahead(similarity, FIRST_RIGHT.expand(2, 4)).tolist() == [3, 1]


def test_a_query_without_a_right_item_misses():
    similarity = torch.tensor([[0.5, 0.9, 0.7, 0.1]])
    assert rivals_ahead(similarity, torch.zeros(1, 4, dtype=torch.bool)).tolist() == [4]


def test_a_depth_that_takes_in_everything_is_not_a_figure():
    rivals = torch.tensor([0, 4, 5, 9])
    assert hit_rate(rivals, 5, choices=10) == 0.5
    assert hit_rate(rivals, 5, choices=6) == 0.5
    assert hit_rate(rivals, 5, choices=5) is None


def test_chunks_cover_all_rows_once_within_the_budget():
    chunks = list(row_chunks(1000, 50_000))
    assert [i for chunk in chunks for i in range(chunk.start, chunk.stop)] == list(range(1000))
    assert max(chunk.stop - chunk.start for chunk in chunks) * 50_000 <= _CHUNK_ELEMENTS
    assert list(row_chunks(2, 2**30)) == [slice(0, 1), slice(1, 2)]
