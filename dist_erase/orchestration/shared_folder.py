"""Whether all ranks of a run see the driver's run folder, which they must share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from dist_erase.errors import UserError
from dist_erase.orchestration.outcome import OUTCOME, read_outcome
from dist_erase.orchestration.run_folder import CONFIG


def all_see(folder: Path, device: torch.device) -> bool:
    """Whether every rank of the process group finds the run's configuration there."""
    seen = torch.tensor(float((folder / CONFIG).is_file()), device=device)
    dist.all_reduce(seen, dist.ReduceOp.MIN)
    return bool(seen.item())


def outcome_of(folder: Path) -> dict[str, Any]:
    """What rank 0 left for the driver, which has no error of any rank.

    Raises:
        UserError: it left nothing here, so `all_see` was false.
        InterruptedRunError: the ranks were asked to stop.
    """
    if not (folder / OUTCOME).exists():
        raise UserError(
            "run.dir",
            f"{folder} is another folder on a node of the workers: what the driver wrote there is "
            "not seen.",
            "Set run.dir to a folder that all nodes share under one path; `dist-erase doctor` "
            "shows which node does not.",
        )
    return read_outcome(folder)
