import pytest

from dist_erase.evaluation.report.build import build_report
from dist_erase.evaluation.report.summary import depth, over_generalisation, points


@pytest.mark.parametrize(("matched", "remark"), [(0.5, "weaker"), (-0.5, "strangers"), (0.2, "")])
def test_a_mean_far_from_the_floor_is_remarked_on(report_parts, matched, remark):
    report_parts["after"]["similarity"]["forget"]["matched"] = matched
    found = [p for p in points(build_report(**report_parts)) if "at the floor" in p.title]
    assert len(found) == bool(remark)
    assert all(p.kind == "attention" and remark in p.text for p in found)


def test_depth_is_measured_from_the_floor(report_parts):
    report_parts["after"]["similarity"]["forget"]["matched"] = 0.1
    assert depth(build_report(**report_parts)).startswith("0.025 below the floor of 0.125")


def test_attention_comes_first_and_what_is_checked_last(report_parts):
    report_parts["forget_never_read"] = ["a.tar/1"]
    kinds = [point.kind for point in points(build_report(**report_parts))]
    assert kinds[0] == "attention"
    assert kinds[-1] == "fine"
    assert kinds == sorted(kinds, key=["attention", "missing", "fine"].index)


def test_shared_images_that_were_allowed_need_attention(report_parts):
    report_parts["overlap"] = {"count": 12, "examples": [], "method": "BLAKE2b"}
    first = points(build_report(**report_parts))
    assert any(p.kind == "attention" and p.text.startswith("12 retain samples") for p in first)


def test_over_generalisation_is_measured_set_by_set(report_parts):
    assert over_generalisation(build_report(**report_parts)) == (
        "not measured: no hold-out sets were given"
    )
    for side in ("before", "after"):
        for task in ("zero_shot", "retrieval", "similarity"):
            report_parts[side][task]["holdout_identity"] = report_parts[side][task]["retain"]
    report_parts["n"]["holdout_identity"] = report_parts["n"]["retain"]
    report_parts["before"]["zero_shot"]["retain"]["top1"] = 0.5
    report_parts["after"]["zero_shot"]["retain"]["top1"] = 0.25
    assert over_generalisation(build_report(**report_parts)) == (
        "Hold-out: other members: zero-shot top-1 50.0% → 25.0% (n = 28); "
        "Hold-out: other facts: not measured"
    )
