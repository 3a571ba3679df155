"""Whole parameters and optimizer states of a DeepSpeed engine, whatever its ZeRO stage.

Reading gives, and writing takes, unpartitioned float32 tensors under the model's own names, so
that a checkpoint fits every world size and every stage without conversion.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import deepspeed
import torch
from deepspeed.utils import (
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_get_local_fp32_param,
    safe_get_local_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)
from torch import Tensor, nn


@contextmanager
def whole(
    parameters: list[nn.Parameter], stage: int, *, modified_on: int | None = None
) -> Iterator[None]:
    """Inside, `parameters` are unpartitioned on every rank (a collective at stage 3).

    What rank `modified_on` changes is kept, on every rank; None = nothing is changed.
    """
    if stage < 3:
        yield
    else:
        with deepspeed.zero.GatheredParameters(parameters, modifier_rank=modified_on):
            yield


@torch.no_grad()
def clamp(parameter: nn.Parameter, stage: int, limit: float) -> None:
    """Keeps a trainable parameter at or below `limit` (a collective).

    ZeRO's optimizers step float32 copies of their own and then overwrite the parameter, so the
    copy is clamped too: it would run away unseen.
    """
    if stage == 3:
        safe_set_local_fp32_param(parameter, safe_get_local_fp32_param(parameter).clamp(max=limit))
    elif stage > 0:
        safe_set_full_fp32_param(parameter, safe_get_full_fp32_param(parameter).clamp(max=limit))
    with whole([parameter], stage, modified_on=0):
        parameter.clamp_(max=limit)


def base_optimizer(engine: Any, stage: int) -> torch.optim.Optimizer:
    """Torch's optimizer below DeepSpeed's wrapper."""
    base: torch.optim.Optimizer = engine.optimizer if stage == 0 else engine.optimizer.optimizer
    return base


def read_optimizer_states(
    engine: Any, stage: int, named: dict[str, nn.Parameter]
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Each trainable parameter's optimizer tensors, whole and flat, on the CPU (a collective)."""
    _link_states(engine, stage)
    keys = _tensor_keys(engine, stage)
    for name, parameter in named.items():
        found = {}
        for key in keys:
            if stage == 0:
                value = engine.optimizer.state[parameter][key]
            else:
                value = safe_get_full_optimizer_state(parameter, key)
            found[key] = value.detach().cpu().reshape(-1).clone()
        yield name, found


def steps_taken(engine: Any, stage: int) -> float:
    """The optimizer's own step count (bias correction); 0 for optimizers without one."""
    for state in base_optimizer(engine, stage).state.values():
        if "step" in state:
            return float(state["step"])
    return 0.0


def write_optimizer_state(
    engine: Any,
    stage: int,
    named: dict[str, nn.Parameter],
    states: dict[str, dict[str, Tensor]],
    steps: float,
) -> None:
    """Sets every trainable parameter's optimizer tensors and the step count.

    Args:
        engine: freshly initialised; nothing stepped yet.
        stage: its ZeRO stage.
        named: the trainable parameters by name.
        states: whole flat float32 tensors by parameter name and key.
        steps: the optimizer's own step count.
    """
    keys = sorted({key for state in states.values() for key in state})
    if not keys:
        return
    _create_empty_states(engine, stage, keys, steps)
    for name, parameter in named.items():
        for key in keys:
            value = states[name][key]
            if stage == 0:
                own = engine.optimizer.state[parameter][key]
                own.copy_(value.view_as(own))
            elif stage == 3:
                _set_partition(parameter, key, value)
            else:
                safe_set_full_optimizer_state(parameter, value.to(parameter.device), key)


def _tensor_keys(engine: Any, stage: int) -> list[str]:
    for flat, state in base_optimizer(engine, stage).state.items():
        return [k for k, v in state.items() if torch.is_tensor(v) and v.shape == flat.shape]
    return []


def _create_empty_states(engine: Any, stage: int, keys: list[str], steps: float) -> None:
    base = base_optimizer(engine, stage)
    if stage == 3:  # its sub-groups become parameter groups only while stepping
        flats = engine.optimizer.fp32_partitioned_groups_flat
    else:
        flats = [flat for group in base.param_groups for flat in group["params"]]
    for flat in flats:
        base.state[flat] = {"step": torch.tensor(steps, dtype=torch.float32, device=flat.device)}
        base.state[flat] |= {key: torch.zeros_like(flat) for key in keys}
    _link_states(engine, stage)


def _link_states(engine: Any, stage: int) -> None:
    """Ties parameters to their slice of the flat states.

    DeepSpeed 0.19.8 does so once, after the first parameter group's first step: too late for
    loading, and too early for every group but the first.
    """
    if stage in (1, 2):
        engine.optimizer._hp_optimizer_states_linked = False
        engine.optimizer._lazy_init_hp_params_optimizer_state()


def _set_partition(parameter: nn.Parameter, key: str, value: Tensor) -> None:
    size = safe_get_local_optimizer_state(parameter, key).numel()
    rank = torch.distributed.get_rank()
    padded = torch.zeros(size * torch.distributed.get_world_size())
    padded[: value.numel()] = value
    part = padded[rank * size : (rank + 1) * size].to(parameter.device)
    safe_set_local_optimizer_state(parameter, part, key)
