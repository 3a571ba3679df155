"""The only place that knows DeepSpeed's JSON."""

from __future__ import annotations

from typing import Any

from dist_erase.errors import UserError


def deepspeed_json(*, zero_stage: int, grad_clip: float, extra: dict[str, Any]) -> dict[str, Any]:
    """DeepSpeed's configuration for one run.

    Batches and accumulation stay at 1 there: the loop scales and accumulates itself, because
    a contrastive batch must stay whole. Parameters are float32 at every stage; the forward's
    precision is autocast's business, so master weights and accumulation are float32 always.

    Args:
        zero_stage: 0 to 3.
        grad_clip: limit of the global gradient norm; 0 = none. Always written out, because
            DeepSpeed's own default is 1.0.
        extra: the user's raw JSON.

    Raises:
        UserError: `extra` sets a key that the typed configuration owns, or is misshapen.
    """
    ours: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": grad_clip,
        "zero_optimization": {"stage": zero_stage},
        "zero_allow_untested_optimizer": True,  # we hand in torch's own optimizers
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": None,
        "wall_clock_breakdown": False,
    }
    owned = {
        "train_batch_size": "train.forget_batch and train.retain_batch",
        "train_micro_batch_size_per_gpu": "train.micro_batch",
        "gradient_accumulation_steps": "train.micro_batch",
        "gradient_clipping": "train.grad_clip",
        "optimizer": "train.optimizer",
        "scheduler": "train.schedule",
        "bf16": "train.precision",
        "fp16": "train.precision",
        "amp": "train.precision",
        "torch_autocast": "train.precision",
        "data_types": "train.precision",
    }
    for key, ours_key in owned.items():
        if key in extra:
            raise UserError(
                f"deepspeed.{key}", "this is set by the typed configuration.", f"Use {ours_key}."
            )
    zero = extra.get("zero_optimization", {})
    if not isinstance(zero, dict):
        raise UserError(
            "deepspeed.zero_optimization",
            f"is {zero!r}, not a section.",
            "Give DeepSpeed's own keys below it.",
        )
    if "stage" in zero:
        raise UserError(
            "deepspeed.zero_optimization.stage",
            "this is set by the typed configuration.",
            "Use train.zero_stage.",
        )
    return ours | extra | {"zero_optimization": zero | ours["zero_optimization"]}
