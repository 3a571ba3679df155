"""What the cluster is asked to measure; imports little, since the driver imports it too.

The driver's own module would load Ray Train in a process that has no use for it, and what measures
would load open_clip in the driver, before it knows whether there is anything to measure.
"""

from __future__ import annotations

from pathlib import Path

import ray

from dist_erase.config.run import RunConfig
from dist_erase.evaluation.embed import Measured
from dist_erase.imports import quick_imports
from dist_erase.training.data_plan import DataPlan


def measure_original_on_node(config: RunConfig, data: DataPlan) -> Measured:
    """The original model, on the GPU where Ray has given one; the run has no metrics yet."""
    with quick_imports():
        from dist_erase.orchestration.measuring import measure_original

    return measure_original(config, data, _device(), None)


def measure_erased_on_node(
    config: RunConfig, data: DataPlan, folder: Path, metrics_at: Path
) -> Measured:
    """The model of a run folder, likewise; `metrics_at` as `watching.metrics_folder`."""
    with quick_imports():
        from dist_erase.orchestration.measuring import measure_erased, told

    with told(config.run.name, metrics_at, data, "erased") as metrics:
        return measure_erased(config, data, folder, _device(), metrics)


def _device() -> str:
    return "cuda" if ray.get_gpu_ids() else "cpu"
