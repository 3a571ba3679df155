"""Every Prometheus metric of dist-erase: one frozen record each, data only.

To add a metric, write its record in `definitions/` and its attribute in `emit.Metrics`; a test
holds the two together. Names follow https://prometheus.io/docs/practices/naming: prefix
`dist_erase_`, base units, `_total` for counters, `_info` for static facts. Every series also
carries COMMON_LABELS. How one is renamed or removed: docs/metrics.md.
"""

from __future__ import annotations

from dist_erase.observability.definitions.forgetting import FORGETTING
from dist_erase.observability.definitions.kinds import (
    COMMON_LABELS,
    COSINE_BUCKETS,
    GOALS,
    PHASES,
    PREFIX,
    TERMS,
    UNITS,
    Dashboard,
    Definition,
    Kind,
    Label,
    Role,
    Unit,
)
from dist_erase.observability.definitions.progress import PROGRESS
from dist_erase.observability.definitions.safety import SAFETY
from dist_erase.observability.definitions.teacher import TEACHER
from dist_erase.observability.definitions.waits import WAITS

__all__ = [
    "COMMON_LABELS",
    "COSINE_BUCKETS",
    "DEFINITIONS",
    "GOALS",
    "PHASES",
    "PREFIX",
    "TERMS",
    "UNITS",
    "Dashboard",
    "Definition",
    "Kind",
    "Label",
    "Role",
    "Unit",
]

DEFINITIONS: tuple[Definition, ...] = (*FORGETTING, *PROGRESS, *WAITS, *TEACHER, *SAFETY)
