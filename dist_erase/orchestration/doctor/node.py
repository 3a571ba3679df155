"""What is looked at on every machine of a cluster, the driver's first."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from pathlib import Path

from dist_erase.orchestration.doctor import disk, leftovers, limits, versions, weights
from dist_erase.orchestration.doctor.needs import Config
from dist_erase.orchestration.doctor.ports import own_address
from dist_erase.orchestration.doctor.row import Check, Row, rows_of
from dist_erase.orchestration.doctor.shards import shard_checks
from dist_erase.storage import boot_id


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """What a node answers.

    Attributes:
        host: its name.
        boot: identity of the machine since it was started; Ray nodes that share it are one.
        now: its clock, seconds since the epoch.
        versions: of what must agree.
        sees: whether the file that the driver wrote is there; None = it could write none.
        rows: of its own checks.
        listens: the address that its name stands for; "" = none.
    """

    host: str
    boot: str
    now: float
    versions: dict[str, str]
    sees: bool | None
    listens: str
    rows: tuple[Row, ...]


def machine_checks(config: Config | None) -> list[Check]:
    """Cheap ones: nothing of torch, Ray or open_clip is imported."""
    checks = [
        Check(name="versions", look=versions.check_versions),
        Check(name="compiler", look=versions.check_compiler),
        Check(name="file limit", look=limits.check_files),
        Check(name="process limit", look=limits.check_processes),
        Check(name="memory", look=lambda: limits.check_memory(config)),
        Check(name="shared memory", look=lambda: limits.check_shared_memory(config)),
        Check(name="run.dir", look=lambda: disk.check_writing(config)),
        Check(name="disk space", look=lambda: disk.check_space(config)),
    ]
    if config is not None:
        chosen = config
        checks += [
            Check(name="model", look=lambda: weights.check_model_files(chosen)),
            Check(name="data.classes", look=lambda: weights.check_classes(chosen)),
        ]
    return [
        *checks,
        Check(name="processes left over", look=leftovers.check_processes_left),
        Check(name="shared memory left over", look=leftovers.check_segments_left),
    ]


def look_here(config: Config | None, marker: str, own_boot: str) -> NodeFacts:
    """Runs on each node of the cluster.

    Args:
        config: with absolute paths.
        marker: path of a file that the driver wrote where run folders go; "" = none.
        own_boot: of the driver's machine, which is not looked at twice.
    """
    now = time.time()
    boot = machine_id()
    checks: list[Check] = []
    if boot != own_boot:
        checks = machine_checks(config) + (shard_checks(config, copies=True) if config else [])
    return NodeFacts(
        host=platform.node(),
        boot=boot,
        now=now,
        versions=versions.installed(),
        sees=Path(marker).exists() if marker else None,
        listens=own_address(),
        rows=tuple(rows_of(checks)),
    )


def machine_id() -> str:
    """Another one for each machine and each start of it; namespaces differ by their names."""
    return f"{platform.node()} {boot_id()}"
