"""Alerts → Prometheus' rule file."""

from __future__ import annotations

from typing import Any

import yaml

from monitoring.generate.alerts import ALERTS, RECORDED, Alert

RUNBOOK = "docs/runbook.md"
_HEAD = "# Made by `make generate` from monitoring/generate/alerts.py; do not edit.\n"


def rules() -> str:
    """The file as text."""
    recorded = [{"record": name, "expr": expr} for name, expr in RECORDED.items()]
    group = {"name": "dist-erase", "rules": [*recorded, *map(_rule, ALERTS)]}
    text = yaml.safe_dump({"groups": [group]}, sort_keys=False, width=100, allow_unicode=True)
    return _HEAD + text


def _rule(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.for_,
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": f"{RUNBOOK}#{alert.anchor}",
        },
    }
