"""Rows as a run writes them to metrics.jsonl."""

from __future__ import annotations

from typing import Any

CHECKPOINT = {
    "event": "checkpoint",
    "step": 2,
    "time": 1004.0,
    "message": "checkpoints/step-2",
    "seconds": 0.5,
}
EVALUATION = {
    "event": "evaluation",
    "step": 2,
    "time": 1004.5,
    "message": "forget pairs found 12.0%, retain pairs found 98.0%",
    "figures": {
        "forget": {"top1": 0.12, "recall1": 0.4},
        "retain": {"top1": 0.98, "recall1": 0.5},
    },
}


def row(step: int, **changes: Any) -> dict[str, Any]:
    """The row of a step of a run of 40 that waits for data most of the time."""
    return {
        "step": step,
        "steps": 40,
        "time": 1000.0 + 2 * step,
        "loss": {"retention": 0.5, "forgetting": 1 / step, "total": 0.5 + 3 / step},
        "similarity": {"forget": 0.9, "retain": 0.3},
        "floor": 0.1,
        "lr": 1e-5,
        "grad_norm": 1.25,
        "seconds": {"step": 2.0, "data_wait": 1.2, "forward": 0.6},
        "samples": 128,
        "samples_per_second": 64.0,
        "epoch": 0.5,
        "forget_passes": 2.0,
        "teacher": {"in_flight": 2, "resubmitted": 0},
        **changes,
    }
