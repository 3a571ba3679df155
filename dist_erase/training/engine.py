"""deepspeed.initialize and the handful of calls that we make on its engine."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Literal

import deepspeed
import torch
from deepspeed.utils import logger as deepspeed_logger
from torch import Tensor, nn

from dist_erase.distributed.clock import COLLECTIVES
from dist_erase.models.student import MAX_LOGIT_SCALE, Student
from dist_erase.training import engine_state

_NO_COMPILER = "TORCHDYNAMO_DISABLE"  # torch's own


def make_optimizer(
    parameters: list[nn.Parameter],
    *,
    kind: Literal["adamw", "adam", "sgd"],
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> torch.optim.Optimizer:
    """Torch's own optimizer; vectors and scalars (biases, norms, logit scale) never decay."""
    matrices = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=lr)
    cls = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
    # Fused: one pass over memory (10 x faster on a CPU for an embedding table of 14 M).
    return cls(groups, lr=lr, betas=betas, fused=True)


def start_deepspeed(backend: str) -> None:
    """Puts DeepSpeed's communication on the process group that torch already has."""
    deepspeed_logger.setLevel(logging.ERROR)
    # On a CPU it would now compile an op, with the g++ and the ninja that PATH happens to show,
    # anew whenever that ninja is another one. Only its inference needs the op.
    deepspeed.ops.__compatible_ops__ = {}
    _import_muon()
    deepspeed.init_distributed(dist_backend=backend)


def _import_muon() -> None:
    """What DeepSpeed imports to see that our optimizer is not Muon, without compiling its kernels.

    That takes each rank a second, most of it for torch's compiler.
    """
    before = os.environ.get(_NO_COMPILER)
    os.environ[_NO_COMPILER] = "1"
    try:
        with suppress(ImportError):  # another DeepSpeed may keep it elsewhere
            import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401
    finally:
        if before is None:
            del os.environ[_NO_COMPILER]
        else:
            os.environ[_NO_COMPILER] = before


class Engine:
    """A student under DeepSpeed.

    Args:
        student: already on its device, with the weights to start from.
        optimizer: over the student's trainable parameters.
        config: from `deepspeed_config.deepspeed_json`.
    """

    def __init__(
        self, student: Student, optimizer: torch.optim.Optimizer, config: dict[str, Any]
    ) -> None:
        deepspeed_logger.setLevel(logging.ERROR)
        self.student = student
        self.device: torch.device = student.clip.logit_scale.device
        self.stage = int(config["zero_optimization"]["stage"])
        # Names are taken before stage 3 replaces what a parameter holds.
        self._trainable = {n: p for n, p in student.clip.named_parameters() if p.requires_grad}
        self._engine: Any = deepspeed.initialize(
            model=student, optimizer=optimizer, config=config, dist_init_required=False
        )[0]
        student.train()
        self._own_norm = 0.0

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`Student.forward` under DeepSpeed's hooks."""
        out: tuple[Tensor, Tensor, Tensor, Tensor] = self._engine(images, tokens)
        return out

    @contextmanager
    def one_reduction(self) -> Iterator[None]:
        """All `backward` calls inside make one gradient, reduced over ranks once.

        The last call must say so (`last=True`), for ZeRO stage 0, which has no coalescing.
        """
        if self.stage == 0:
            yield
        else:
            with ExitStack() as reduction:
                reduction.enter_context(self._engine.coalesce_grad_reduction())
                yield
                with COLLECTIVES.running(self.device):  # where ranks exchange gradients
                    reduction.close()

    def backward(self, surrogate: Tensor, *, last: bool) -> None:
        """Adds the gradient of a scalar; DeepSpeed averages over ranks."""
        if self.stage == 0:
            self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(surrogate)

    def step(self, lr: float) -> None:
        """One optimizer step at rate `lr`; clears gradients."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = lr
        if self.stage == 0:  # DeepSpeed computes no norm there unless it clips
            grads = [p.grad for p in self._trainable.values() if p.grad is not None]
            self._own_norm = float(torch.nn.utils.get_total_norm(grads))
        self._engine.step()
        scale = self.student.clip.logit_scale
        if scale.requires_grad:
            engine_state.clamp(scale, self.stage, MAX_LOGIT_SCALE)

    def grad_norm(self) -> float:
        """Global gradient norm of the last step, before clipping."""
        return self._own_norm if self.stage == 0 else float(self._engine.get_global_grad_norm())

    def full_state(self) -> dict[str, Tensor]:
        """Every float32 parameter and buffer of the open_clip model, on the CPU.

        A collective at stage 3; each rank receives the whole state.
        """
        return dict(self._whole_tensors())

    def checkpoint_tensors(self, *, part: int, parts: int) -> dict[str, Tensor]:
        """This rank's share of all weights and optimizer states, whole tensors (a collective).

        Returns:
            `weights//NAME` and `optimizer/KEY/NAME` for every `parts`-th name.
        """
        mine: dict[str, Tensor] = {}
        for index, (name, tensor) in enumerate(self._whole_tensors()):
            if index % parts == part:
                mine[f"weights//{name}"] = tensor
        states_by_name = engine_state.read_optimizer_states(
            self._engine, self.stage, self._trainable
        )
        for index, (name, states) in enumerate(states_by_name):
            if index % parts == part:
                mine |= {f"optimizer/{key}/{name}": value for key, value in states.items()}
        return mine

    def optimizer_steps(self) -> float:
        """The optimizer's own step count."""
        return engine_state.steps_taken(self._engine, self.stage)

    def restore_optimizer(self, states: dict[str, dict[str, Tensor]], steps: float) -> None:
        """Sets what `checkpoint_tensors` gave, on a freshly built engine."""
        engine_state.write_optimizer_state(self._engine, self.stage, self._trainable, states, steps)

    def _whole_tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self.student.clip.state_dict(keep_vars=True).items():
            parameters = [tensor] if isinstance(tensor, nn.Parameter) else []
            with engine_state.whole(parameters, self.stage):
                copy = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            yield name, copy
