"""What a replica of the teacher is told and asked, and what it answers.

Imports no torch: Ray's own processes load it with the replicas' handles.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dist_erase.config.model import ModelConfig

if TYPE_CHECKING:
    from dist_erase.models.frozen import Dtype

# Images uint8 [n, 3, H, W] and tokens int64 [n, L] of one set; None for a set not asked about.
Question = tuple[np.ndarray, np.ndarray] | None
# Image and text embeddings of that set, L2-normalised float16 [n, D].
Answer = tuple[np.ndarray, np.ndarray] | None


@dataclass(frozen=True, kw_only=True)
class ReplicaSpec:
    """What the replicas of one pool have in common.

    Attributes:
        device: "cuda" for the one GPU that Ray assigned, else "cpu".
        threads: torch's intra-op threads.
        run: name of the run, for metrics.
        metrics_folder: where snapshots are written; None = no metrics.
    """

    model: ModelConfig
    dtype: Dtype
    micro_batch: int
    device: str
    threads: int
    run: str
    metrics_folder: Path | None


@dataclass(frozen=True, kw_only=True)
class Pong:
    """A sign of life: process id and pairs embedded since that process started."""

    pid: int
    pairs: int


@dataclass(frozen=True, kw_only=True)
class Life:
    """That a replica's process answers, and how its worker does.

    Attributes:
        pid: process id.
        working_seconds: how long it has worked on the request at hand; 0 between requests.
    """

    pid: int
    working_seconds: float

    def works(self, limit_seconds: float) -> bool:
        """Whether the worker gets on; one that hangs in a kernel stays at one request."""
        return self.working_seconds <= limit_seconds
