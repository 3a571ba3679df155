"""Checkpoints that fit every world size and ZeRO stage: save, find, load, prune.

Instead of DeepSpeed's partitioned (and pickled) files, which need an off-line conversion for
another world size, whole float32 tensors are written as safetensors under their own names, the
parameters shared out among the ranks. Nothing is converted and nothing unpickled on load.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from dist_erase.distributed.context import RankContext
from dist_erase.storage import named, write_json
from dist_erase.training.engine import Engine
from dist_erase.training.manifest import what_is_wrong, write_manifest

log = logging.getLogger(__name__)
_STATE = "state.json"
_BEST = "best.json"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a run needs beside tensors to continue.

    Attributes:
        step: steps done; also the position of the data.
        floor: similarity of never-paired pairs, one number or one for each forget pair.
        order_version: of the data order.
        optimizer_steps: the optimizer's own count.
        retain_before: share of retain pairs that the original model finds, by live evaluation.
        best: best score so far of live evaluation.
        samples: pairs trained on by all ranks; `seconds`: wall time of the steps done.
        stopped: why the run has ended before its planned steps; None = it has not.
        identity: fingerprints of the original model and of each set, by name.
    """

    step: int
    floor: list[float]
    order_version: int
    optimizer_steps: float = 0.0
    retain_before: float | None = None
    best: float | None = None
    samples: int = 0
    seconds: float = 0.0
    stopped: str | None = None
    identity: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A loaded checkpoint: whole tensors by name."""

    progress: Progress
    weights: dict[str, Tensor]
    optimizer: dict[str, dict[str, Tensor]] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: on a file system that every rank sees.
        context: this rank.
        keep_last: how many to keep.
        attempt: how often the run was started before; part of the names, so that files of a
            dead attempt are never mixed with a new one's.
    """

    def __init__(self, folder: Path, context: RankContext, *, keep_last: int, attempt: int) -> None:
        self._folder = folder
        self._context = context
        self._keep_last = keep_last
        self._attempt = attempt

    def save(self, engine: Engine, progress: Progress, *, is_best: bool = False) -> Path:
        """Writes all ranks' parts, then the manifest, then renames (a collective).

        The best checkpoint is exempt from pruning.

        Raises:
            OSError: the system refused it; named.
        """
        final = self._folder / f"step-{progress.step:08d}-attempt-{self._attempt}"
        temporary = final.with_name(f".{final.name}.tmp")
        rank, world = self._context.rank, self._context.world
        if self._context.is_first:
            # Those of attempts that died while writing: the disk may have no room beside them.
            for left in self._folder.glob(".step-*.tmp"):
                shutil.rmtree(left, ignore_errors=True)
            temporary.mkdir(parents=True)
        self._context.barrier()
        tensors = engine.checkpoint_tensors(part=rank, parts=world)
        part = temporary / f"part-{rank:05d}-of-{world:05d}.safetensors"
        try:
            with named(self._folder):
                save_file(tensors, str(part))
        except OSError:
            part.unlink(missing_ok=True)
            raise
        self._context.barrier()
        if self._context.is_first:
            write_json(temporary / _STATE, asdict(progress))
            write_manifest(temporary)
            shutil.rmtree(final, ignore_errors=True)
            temporary.rename(final)
            if is_best:
                write_json(self._folder / _BEST, {"checkpoint": final.name})
            self._prune(final)
        self._context.barrier()
        return final

    def newest(self) -> Saved | None:
        """The newest complete checkpoint, agreed on by all ranks; None if there is none."""
        path = self._context.from_first(self._newest_path)
        return None if path is None else _load(path)

    def _newest_path(self) -> Path | None:
        for path in reversed(_by_age(self._folder)):
            fault = what_is_wrong(path)
            if fault is None:
                return path
            log.warning("checkpoint %s is passed over: %s", path, fault)
        return None

    def _prune(self, written: Path) -> None:
        best = self._folder / _BEST
        kept = {json.loads(best.read_text())["checkpoint"]} if best.exists() else set()
        # Newer ones than the one just written were passed over: they are damaged, and do not count.
        older = [path for path in _by_age(self._folder) if _age(path) <= _age(written)]
        for path in older[: -self._keep_last]:
            if path.name not in kept:
                shutil.rmtree(path)


def newest_step(folder: Path) -> int | None:
    """The step of the newest checkpoint there, unchecked; None if there is none."""
    return max((_age(path)[0] for path in _by_age(folder)), default=None)


def _by_age(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*-attempt-*"), key=_age)


def _age(path: Path) -> tuple[int, int]:
    """Step and attempt, the later the higher."""
    _, step, _, attempt = path.name.split("-")
    return int(step), int(attempt)


def _load(path: Path) -> Saved:
    state: dict[str, Any] = json.loads((path / _STATE).read_text(encoding="utf-8"))
    weights: dict[str, Tensor] = {}
    optimizer: dict[str, dict[str, Tensor]] = {}
    for part in sorted(path.glob("part-*.safetensors")):
        with safe_open(str(part), framework="pt") as stream:
            for full_name in stream.keys():  # noqa: SIM118  not a mapping
                kind, key, name = full_name.split("/", 2)
                if kind == "weights":
                    weights[name] = stream.get_tensor(full_name)
                else:
                    optimizer.setdefault(name, {})[key] = stream.get_tensor(full_name)
    return Saved(progress=Progress(**state), weights=weights, optimizer=optimizer)
