"""The report as one self-contained page: no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from torch import Tensor

from dist_erase.evaluation.report import plots
from dist_erase.evaluation.report.figures import Figure, accuracy, figures, find, percent, set_title
from dist_erase.evaluation.report.summary import depth, headline, over_generalisation, points
from dist_erase.evaluation.report.swaps import swap_figures


def render_html(
    report: dict[str, Any],
    *,
    curves: Sequence[dict[str, Any]],
    matched_before: Tensor,
    matched_after: Tensor,
    config_yaml: str,
) -> str:
    """The page.

    Args:
        report: from `build_report`.
        curves: rows of metrics.jsonl, with `step` and, where present, `loss` and `similarity`
            by name.
        matched_before: float32 [n], `similarity.matched_similarities` of the forget set, original
            model.
        matched_after: the same of the unlearned model.
        config_yaml: the resolved configuration.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    floor, n = report["floor"], report["n"]
    classes = n["forget"]["classes"]
    chance = 1 / classes if classes else None
    return environment.get_template("template.html").render(
        report=report,
        headline=headline(report),
        forget=accuracy(report, "forget"),
        retain=accuracy(report, "retain"),
        matched=find(report, "forget", "similarity.matched"),
        depth=depth(report),
        chance=percent(chance) if chance else None,
        swaps=list(swap_figures(report)),
        points=points(report),
        over_generalisation=over_generalisation(report),
        figures_by_set=[
            (set_title(name), n[name], list(rows))
            for name, rows in groupby(figures(report), key=lambda figure: figure.set_name)
        ],
        forget_shards=_forget_shards(config_yaml),
        accuracy_plots=_accuracy_plots(report, chance),
        histogram_plot=Markup(plots.histogram_plot(matched_before, matched_after, floor)),
        loss_plot=_drawn(plots.loss_plot(curves)),
        similarity_plot=_drawn(plots.similarity_plot(curves, floor)),
        config_yaml=config_yaml,
    )


def _accuracy_plots(report: dict[str, Any], chance: float | None) -> list[tuple[str, Markup]]:
    """A plot of zero-shot accuracy, and one of recall for the sets without classes."""
    by_key: dict[str, list[Figure]] = {}
    for name in report["n"]:
        figure = accuracy(report, name)
        by_key.setdefault(figure.key, []).append(figure)
    return [
        (same[0].title, Markup(plots.accuracy_plot(same, chance if "zero" in key else None)))
        for key, same in by_key.items()
    ]


def _drawn(svg: str | None) -> Markup | None:
    return None if svg is None else Markup(svg)


def _forget_shards(config_yaml: str) -> str:
    """The patterns of `data.forget.shards`, as the user wrote them."""
    shards = yaml.safe_load(config_yaml)["data"]["forget"]["shards"]
    return shards if isinstance(shards, str) else ", ".join(shards)
