import pytest

from dist_erase.evaluation.report.build import build_report
from dist_erase.evaluation.report.figures import Figure, accuracy, figures, find


def share(before, after, n=36):
    return Figure(
        set_name="forget", key="k", title="t", unit="share", before=before, after=after, n=n
    )


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (0.95, 0.948, "−0.2 points"),
        (0.5, 0.75, "+25.0 points"),
        (0.5, 0.50001, "0.0 points"),
        (0.50001, 0.5, "0.0 points"),
        (None, 0.5, "not measured"),
    ],
)
def test_changes_are_signed_and_zero_has_no_sign(before, after, change):
    assert share(before, after).change == change


def test_shares_have_intervals_and_what_is_missing_has_none():
    assert share(1.0, 0.0).after_interval == "0.0–9.6%"
    assert share(1.0, None).after_interval == ""
    assert share(1.0, None).after_text == "not measured"


def test_every_figure_of_every_set_is_listed_with_its_n(report_parts):
    report = build_report(**report_parts)
    listed = list(figures(report))
    assert len(listed) == 2 * 10
    for figure in listed:
        value = report["after"]
        first, *rest = figure.key.split(".")
        for key in (first, figure.set_name, *rest):
            value = value[key]
        assert figure.after == value
    mismatched = find(report, "forget", "similarity.mismatched")
    assert mismatched.n == report["n"]["forget"]["mismatched"]
    assert find(report, "retain", "zero_shot.top1").n == 28


def test_the_interval_of_a_recall_is_over_distinct_queries(report_parts):
    """100 pairs with one caption ask one question, and "0 of 100" would be a lie."""
    report_parts["n"]["forget"] |= {"images": 10, "captions": 1}
    report = build_report(**report_parts)
    assert find(report, "forget", "retrieval.image_to_text.r1").n == 10
    assert find(report, "forget", "retrieval.text_to_image.r10").n == 1
    assert find(report, "forget", "zero_shot.top1").n == 12


def test_recall_stands_in_for_accuracy(report_parts):
    assert accuracy(build_report(**report_parts), "forget").key == "zero_shot.top1"
    report_parts["after"]["zero_shot"]["forget"] = None
    report = build_report(**report_parts)
    assert accuracy(report, "forget").key == "retrieval.image_to_text.r1"
