"""The end of a run: report written, table shown, goals compared."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console

import dist_erase
from dist_erase.config.explain import config_hash
from dist_erase.config.run import RunConfig
from dist_erase.config.secrets import public, recorded
from dist_erase.data.quarantine import shard_now
from dist_erase.evaluation.embed import Measured
from dist_erase.evaluation.report.build import build_report
from dist_erase.evaluation.report.table import print_table
from dist_erase.evaluation.similarity import matched_similarities
from dist_erase.evaluation.suite import count, measure
from dist_erase.evaluation.swap import measure_swap
from dist_erase.observability.emit import Metrics
from dist_erase.observability.rows import Row
from dist_erase.storage import read_json_lines, write_json, write_text
from dist_erase.training.account import read_quarantine
from dist_erase.training.data_plan import DataPlan
from dist_erase.training.goals import BUDGET, distances, share_found

REPORT_JSON, REPORT_HTML = "report.json", "report.html"
_MISSED = {
    "forget_top1_below": "forget top-1 is {found:.1%}, goal below {limit:.1%}",
    "forget_recall_below": "forget recall@1 is {found:.1%}, goal below {limit:.1%}",
    BUDGET: "retain pairs found fell by {found:.1%}, {limit:.1%} allowed",
}
_PACKAGES = {
    "torch": "torch",
    "deepspeed": "deepspeed",
    "ray": "ray",
    "open_clip": "open_clip_torch",
}


def versions() -> dict[str, str]:
    """This package's and those of what it runs on."""
    found = {"dist_erase": dist_erase.__version__, "python": platform.python_version()}
    return found | {name: version(package) for name, package in _PACKAGES.items()}


def write_report(
    config: RunConfig,
    folder: Path,
    data: DataPlan,
    *,
    before: Measured,
    after: Measured,
    outcome: dict[str, Any],
    metrics: Metrics | None,
) -> dict[str, Any]:
    """Writes `report.json` and `report.html`; returns the former."""
    # matplotlib takes more than a second: not for those that only measure, or that are refused.
    from dist_erase.evaluation.report.html import render_html

    rows = read_rows(folder)
    steps = [row for row in rows if "event" not in row]
    figures_before, figures_after = measure(before.embeddings), measure(after.embeddings)
    report = build_report(
        run_name=config.run.name,
        before=figures_before,
        after=figures_after,
        swap=measure_swap(after.embeddings, before.embeddings),
        training={key: outcome[key] for key in ("steps", "samples_per_second", "seconds")},
        floor=steps[-1]["floor"] if steps else None,
        n=count(after.embeddings),
        seed=config.seed,
        config_hash=config_hash(config),
        versions=versions(),
        teacher_fingerprint=before.fingerprint,
        overlap=data.overlap,
        forget_never_read=never_read(folder, data, outcome["steps"]),
    )
    write_json(folder / REPORT_JSON, report)
    html = render_html(
        report,
        curves=[dict(row) for row in steps],
        matched_before=matched_similarities(before.embeddings.sets["forget"]),
        matched_after=matched_similarities(after.embeddings.sets["forget"]),
        config_yaml=yaml.safe_dump(recorded(config.model_dump(mode="json")), sort_keys=False),
    )
    write_text(folder / REPORT_HTML, html)
    if metrics is not None:
        metrics.evaluation("before", figures_before)
        metrics.evaluation("after", report["after"])
    return report


def show(report: dict[str, Any], folder: Path, console: Console) -> None:
    """The table and where everything is."""
    print_table(report, console)
    console.print(f"report   {folder / REPORT_HTML}", soft_wrap=True)
    console.print(f"model    {folder / 'model'}  (open_clip: local-dir:PATH)", soft_wrap=True)


def missed_goals(config: RunConfig, report: dict[str, Any]) -> list[str]:
    """The configured goals and budget that the erased model does not meet, in words.

    Raises:
        UserError: a goal needs classes, which the forget set does not have.
    """
    limits: dict[str, float | None] = config.stop.model_dump()
    beyond = distances(
        limits,
        report["after"],
        retain=share_found(report["after"], "retain"),
        retain_before=share_found(report["before"], "retain"),
    )
    return [
        _MISSED[goal].format(found=distance + limit, limit=limit)
        for goal, distance in beyond.items()
        if (limit := limits[goal]) is not None
        and (distance > 0 if goal == BUDGET else distance >= 0)
    ]


def read_rows(folder: Path) -> list[Row]:
    """The rows of metrics.jsonl; of a step done twice (after a restart) the last."""
    rows: dict[Any, Row] = {}
    for row in read_json_lines(folder / "metrics.jsonl"):
        rows[len(rows) if "event" in row else f"step {row['step']}"] = row
    return sorted(rows.values(), key=lambda row: row["step"])


def never_read(folder: Path, data: DataPlan, steps: int) -> list[str]:
    """Names (SHARD/KEY) of forget pairs that no step trained on."""
    if data.forget is None:
        return []
    seen = np.zeros(len(data.forget.index), dtype=bool)
    for step in range(steps):
        if seen.all():
            break
        seen[data.forget.order.at(step).positions] = True
    names = [data.forget.index.label(int(position)) for position in np.flatnonzero(~seen)]
    missing = {f"{shard}/{key}" for shard, _, key in names}
    # Where the set lies now: one pair has one name, whatever paths earlier attempts read.
    shards = [public(shard.path) for shard in data.forget.index.shards]
    missing |= {
        f"{shard_now(entry, shards)}/{entry.key}"
        for entry in read_quarantine(folder)
        if entry.stream == "forget"
    }
    return sorted(missing)
