"""The machine-readable report: one dictionary, ready for JSON, whose schema is frozen by a test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA_VERSION = 1


def build_report(
    *,
    run_name: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    swap: Mapping[str, Any],
    training: Mapping[str, Any],
    floor: float | None,
    n: Mapping[str, Mapping[str, int | None]],
    seed: int,
    config_hash: str,
    versions: Mapping[str, str],
    teacher_fingerprint: str,
    overlap: Mapping[str, Any],
    forget_never_read: Sequence[str],
) -> dict[str, Any]:
    """Gathers everything that `report.json` holds.

    Args:
        run_name: `run.name`.
        before: `suite.measure` of the original model.
        after: `suite.measure` of the unlearned one, on the same pairs.
        swap: `swap.measure_swap`; becomes `after.tower_swap`.
        training: `{"steps", "samples_per_second", "seconds"}`.
        floor: the similarity aimed at (the mean where each pair has its own); None without one.
        n: `suite.count`.
        seed: of the run.
        config_hash: of the resolved configuration.
        versions: of this package and of what it ran on, by name.
        teacher_fingerprint: of the original model.
        overlap: `{"count", "examples", "method"}` of images in both sets.
        forget_never_read: names (SHARD/KEY) of forget pairs that training never saw.

    Returns:
        Plain dictionaries, lists, strings and numbers. What is not a finite number was not
        measured, and is None.
    """
    report = {
        "schema_version": SCHEMA_VERSION,
        "run": run_name,
        "before": before,
        "after": {**after, "tower_swap": swap},
        "training": training,
        "floor": floor,
        "n": n,
        "seed": seed,
        "config_hash": config_hash,
        "versions": versions,
        "teacher_fingerprint": teacher_fingerprint,
        "overlap": overlap,
        "forget_never_read": forget_never_read,
    }
    plain: dict[str, Any] = _plain(report)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise TypeError(f"a report holds plain values, not {type(value).__name__}")
