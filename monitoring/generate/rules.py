"""Alerts → Prometheus' rule file."""

from __future__ import annotations

from typing import Any

import yaml

from monitoring.generate.alerts import ALERTS, Alert
from monitoring.generate.conditions import RECORDED

# The project has no public address, so Prometheus serves docs/ itself (--web.user-assets) or says
# in an external label where they can be read.
DOCS = '{{ or $externalLabels.runbook_base (print $externalURL "/user") }}'
RUNBOOK = f"{DOCS}/runbook.md"
_HEAD = "# Made by `make generate` from monitoring/generate/alerts.py; do not edit.\n"


def rules() -> str:
    """Prometheus' rule file."""
    return _as_yaml(_groups())


def kubernetes_rules() -> str:
    """The same rules as a resource of the Prometheus operator."""
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "dist-erase", "labels": {"release": "prometheus"}},
        "spec": _groups(),
    }
    return _as_yaml(resource)


def _groups() -> dict[str, Any]:
    recorded = [{"record": name, "expr": expr} for name, expr in RECORDED.items()]
    return {"groups": [{"name": "dist-erase", "rules": [*recorded, *map(_rule, ALERTS)]}]}


def _as_yaml(content: dict[str, Any]) -> str:
    return _HEAD + yaml.safe_dump(content, sort_keys=False, width=100, allow_unicode=True)


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
