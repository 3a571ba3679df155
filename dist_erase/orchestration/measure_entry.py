"""What the cluster is asked to measure; imports nothing of the driver's.

The driver's own module would load Ray Train in a process that has no use for it.
"""

from __future__ import annotations

from pathlib import Path

import ray

from dist_erase.config.run import RunConfig
from dist_erase.orchestration.measuring import Measured, measure_erased, measure_original
from dist_erase.training.data_plan import DataPlan


def measure_on_node(config: RunConfig, data: DataPlan, folder: Path | None) -> Measured:
    """The original model, or that of a run folder, on the GPU where Ray has given one."""
    device = "cuda" if ray.get_gpu_ids() else "cpu"
    if folder is None:
        return measure_original(config, data, device)
    return measure_erased(config, data, folder, device)
