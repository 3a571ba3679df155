import torch

from dist_erase.evaluation.report.plots import _series, histogram_plot, loss_plot, similarity_plot


def row(step, **loss):
    return {"step": step, "loss": loss}


def test_of_a_repeated_step_the_last_row_counts():
    curves = [row(1, a=1.0), row(2, a=2.0), row(3, a=3.0), row(2, a=20.0), {"step": 3, "lr": 0.1}]
    assert _series(curves, "loss", "a") == ([1, 2, 3], [1.0, 20.0, 3.0])


def test_every_term_has_a_plot_and_rows_without_terms_none():
    svg = loss_plot([row(1, retention=1.0), row(2, forgetting=0.5, total=1.0)])
    for name in ("retention", "forgetting", "total"):
        assert f">{name}</text>" in svg
    assert loss_plot([{"step": 1}]) is None
    assert similarity_plot([row(1, a=1.0)], floor=0.1) is None


def test_plots_repeat_bit_by_bit():
    curves = [row(1, a=1.0), row(2, a=0.5)]
    assert loss_plot(curves) == loss_plot(curves)


def test_similarities_that_are_not_finite_are_not_drawn():
    nan, none = torch.tensor([torch.nan, torch.inf]), torch.tensor([])
    assert histogram_plot(nan, nan, None) == histogram_plot(none, none, None)
    some = torch.tensor([0.5, 0.25])
    assert histogram_plot(some, torch.cat([some, nan]), 0.1) == histogram_plot(some, some, 0.1)
