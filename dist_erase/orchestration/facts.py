"""What the driver's metrics say of a run from its start on."""

from __future__ import annotations

from dist_erase.config.explain import config_hash
from dist_erase.config.run import RunConfig
from dist_erase.observability.emit import Metrics
from dist_erase.orchestration.evidence import versions


def state_facts(metrics: Metrics, config: RunConfig, *, world: int, ray_job_id: str = "") -> None:
    """Sets `run_info`, the number of ranks and the configured goals."""
    metrics.ranks_expected.set(world)
    found = versions()
    metrics.run_info.set(
        version=found.pop("dist_erase"),
        config_hash=config_hash(config),
        world_size=str(world),
        ray_job_id=ray_job_id,
        **found,
    )
    for goal, value in config.stop.model_dump().items():
        if value is not None:
            metrics.goal_ratio.set(value, goal)
