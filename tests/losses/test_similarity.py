import torch

from dist_erase.losses.similarity import logits, matched, pairwise

GENERATOR = torch.Generator().manual_seed(0)
X_BD = torch.randn(3, 64, generator=GENERATOR)
Y_BD = torch.randn(3, 64, generator=GENERATOR)


def test_half_precision_is_raised_before_anything_is_multiplied():
    x, y = X_BD.bfloat16(), Y_BD.bfloat16()

    assert torch.equal(matched(x, y), (x.float() * y.float()).sum(-1))
    assert torch.equal(pairwise(x, y), x.float() @ y.float().T)
    scale = torch.tensor(14.3, dtype=torch.bfloat16)
    assert logits(torch.ones(2), scale=scale).dtype == torch.float32


def test_double_precision_stays():
    assert matched(X_BD.double(), Y_BD.double()).dtype == torch.float64
    assert pairwise(X_BD.double(), Y_BD.double()).dtype == torch.float64


def test_autocast_does_not_lower_the_precision():
    expected = pairwise(X_BD, Y_BD)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(pairwise(X_BD, Y_BD), expected)


def test_logits_are_scale_times_similarity_plus_bias():
    similarity = torch.tensor([0.5, -1.0])
    scale, bias = torch.tensor(4.0), torch.tensor(-10.0)

    assert logits(similarity, scale=scale).tolist() == [2.0, -4.0]
    assert logits(similarity, scale=scale, bias=bias).tolist() == [-8.0, -14.0]
