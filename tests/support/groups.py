"""Which tests share a process: those that share a cluster, a trained model, runs, or a folder."""

from __future__ import annotations

# In this order, before all others: a long group that begins last leaves one process idle.
LONGEST = (
    "cluster",
    "tests/property",  # not long in a process that has run nothing else; later three times as long
    "hosts",
    "tests/jobs",
    "launchers",
    "tests/orchestration",
    "tests/data",
    "tests/training",
    "tests/split",
    "tests/observability",
)
_GROUPS = {
    "tests/integration/test_integration_docs.py": "launchers",  # the run without Ray
    "tests/integration/test_integration_hosts.py": "hosts",
    "tests/integration/test_integration_stop.py": "launchers",
    "tests/orchestration/test_cluster_room.py": "cluster",
    "tests/orchestration/test_no_place.py": "cluster",
    "tests/orchestration/test_node_exporters.py": "cluster",
    "tests/orchestration/test_signals.py": "cluster",
    "tests/doctor": "tests/jobs",
    "tests/integration": "cluster",
    "tests/messages": "cluster",
    "tests/teacher": "cluster",
}


def group_of(nodeid: str) -> str:
    """The group of a test: its file's, its folder's, or else the folder itself."""
    file = nodeid.partition("::")[0]
    folder = file.rpartition("/")[0]
    return _GROUPS.get(file) or _GROUPS.get(folder) or folder


def place_of(nodeid: str) -> int:
    """Where its group stands in the order of running."""
    group = group_of(nodeid)
    return LONGEST.index(group) if group in LONGEST else len(LONGEST)
