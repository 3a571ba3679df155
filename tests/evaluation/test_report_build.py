import json
import math

import pytest

from dist_erase.evaluation.report.build import build_report

# Frozen: a change here is a change of `report.json` that readers of it must hear of
# (SCHEMA_VERSION). Keys of further sets stand beside forget and retain.
SET_FIGURES = {f"zero_shot.{s}.{k}": float for s in ("forget", "retain") for k in ("top1", "top5")}
SET_FIGURES |= {
    f"retrieval.{s}.{d}.{k}": float
    for s in ("forget", "retain")
    for d in ("image_to_text", "text_to_image")
    for k in ("r1", "r5", "r10")
}
SET_FIGURES |= {
    f"similarity.{s}.{k}": float for s in ("forget", "retain") for k in ("matched", "mismatched")
}
SCHEMA = {
    "schema_version": int,
    "run": str,
    **{f"before.{key}": kind for key, kind in SET_FIGURES.items()},
    **{f"after.{key}": kind for key, kind in SET_FIGURES.items()},
    **{
        f"after.tower_swap.{mixture}.forget.{key}": float
        for mixture in ("new_image_old_text", "old_image_new_text")
        for key in ("top1", "r1")
    },
    "training.steps": int,
    "training.samples_per_second": float,
    "training.seconds": float,
    "floor": float,
    **{
        f"n.{s}.{key}": int
        for s in ("forget", "retain")
        for key in (
            "pairs",
            "images",
            "captions",
            "mismatched",
            "gallery_images",
            "gallery_captions",
            "classes",
        )
    },
    "seed": int,
    "config_hash": str,
    **{
        f"versions.{name}": str
        for name in ("dist_erase", "python", "torch", "deepspeed", "ray", "open_clip")
    },
    "teacher_fingerprint": str,
    "overlap.count": int,
    "overlap.examples": list,
    "overlap.method": str,
    "forget_never_read": list,
}


def leaves(value, path=()):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    else:
        yield ".".join(path), type(value)


def test_schema_is_frozen(report_parts):
    report = build_report(**report_parts)
    assert dict(leaves(report)) == SCHEMA
    assert report["schema_version"] == 1


def test_what_is_not_finite_is_null(report_parts):
    report_parts["before"]["similarity"]["forget"]["matched"] = math.nan
    report_parts["training"]["samples_per_second"] = math.inf
    report = build_report(**report_parts)
    assert report["before"]["similarity"]["forget"]["matched"] is None
    assert report["training"]["samples_per_second"] is None
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_the_parts_are_not_changed(report_parts):
    after = report_parts["after"]
    build_report(**report_parts)
    assert "tower_swap" not in after


def test_a_tensor_is_refused(report_parts):
    report_parts["versions"]["torch"] = object()
    with pytest.raises(TypeError, match="plain values, not object"):
        build_report(**report_parts)
