"""The page docs/reference/metrics.md: every metric, from the definitions.

`make generate` writes it: python -m dist_erase.observability.reference > docs/reference/metrics.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from dist_erase.observability.definitions.alarms import ALARMS, Alarm
from dist_erase.observability.definitions.kinds import START
from dist_erase.observability.metrics import COMMON_LABELS, DEFINITIONS, Dashboard, Definition

_HEAD = f"""\
# Metrics

Made from the code by `make generate`; do not edit. Every series also has the labels
{", ".join(f"`{label}`" for label in (*COMMON_LABELS, START))}.
How to scrape them, and how a metric is renamed or removed: [metrics.md](../metrics.md).

A metric without a unit is a plain number; `seconds`, `bytes` and `ratio` (0 to 1 unless its meaning
says otherwise) end the name. Counters start at 0 with their process, so ask for `rate` or
`increase`.
"""
_TITLES: dict[Dashboard, str] = {
    "progress": "Unlearning progress",
    "throughput": "Throughput and waits",
    "cluster": "Cluster and reliability",
    "compare": "Compare runs",
}


def reference() -> str:
    """The whole page, in Markdown."""
    lines = [_HEAD]
    for dashboard, title in _TITLES.items():
        lines.append(f"## {title}\n")
        lines += _questions([one for one in DEFINITIONS if one.dashboard == dashboard])
    lines.append("## Alerts\n")
    lines.append("| alert | fires when | looks at |\n|---|---|---|")
    lines += [_alert(alarm) for alarm in ALARMS]
    return "\n".join([*lines, ""])


def _alert(alarm: Alarm) -> str:
    looked_at = ", ".join(f"`{one.name}`" for one in DEFINITIONS if alarm in one.alerts)
    link = f"[{alarm.name}](../runbook.md#{alarm.name.lower()})"
    return f"| {link} | {alarm.fires} | {looked_at or '`up`'} |"


def _questions(definitions: list[Definition]) -> Iterator[str]:
    for question in dict.fromkeys(one.question for one in definitions):
        yield f"### {question}\n"
        yield "| metric | kind | set by | labels | meaning |\n|---|---|---|---|---|"
        yield from (_row(one) for one in definitions if one.question == question)
        yield ""


def _row(one: Definition) -> str:
    labels = [
        f"`{label.name}`" + (f": {', '.join(label.values)}" if label.values else "")
        for label in one.labels
    ]
    meaning = one.help + (f" Only if {one.when}." if one.when else "")
    cells = (f"`{one.name}`", one.kind, one.role, "; ".join(labels), meaning)
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.stdout.write(reference())
