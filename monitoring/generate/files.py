"""Every generated file with its content."""

from __future__ import annotations

from pathlib import Path

from monitoring.generate import cluster, compare, throughput, unlearning
from monitoring.generate.grafana import to_json
from monitoring.generate.records import Board
from monitoring.generate.rules import kubernetes_rules, rules

FOLDER = Path(__file__).parents[1]
BOARDS: dict[str, Board] = {
    "unlearning": unlearning.BOARD,
    "throughput": throughput.BOARD,
    "cluster": cluster.BOARD,
    "compare": compare.BOARD,
}


def generated() -> dict[Path, str]:
    """Path → text."""
    dashboards = FOLDER / "grafana/dashboards"
    files = {dashboards / f"{name}.json": to_json(board) for name, board in BOARDS.items()}
    return {
        **files,
        FOLDER / "alerts/dist_erase.yml": rules(),
        FOLDER / "kubernetes/prometheusrule.yml": kubernetes_rules(),
    }
