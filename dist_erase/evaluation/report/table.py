"""The report as a table in the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dist_erase.evaluation.report.figures import figures, set_title
from dist_erase.evaluation.report.summary import points
from dist_erase.evaluation.report.swaps import swap_figures


def print_table(report: dict[str, Any], console: Console) -> None:
    """Prints every figure before and after with its n, the tower swap, and what to know."""
    table = Table("set", "figure", title=Text(f"{report['run']}: before and after"))
    for heading in ("before", "after", "change", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    shown = ""
    for figure in figures(report):
        if figure.set_name != shown:
            table.add_section()
        title = set_title(figure.set_name) if figure.set_name != shown else ""
        shown = figure.set_name
        values = (figure.before_text, figure.after_text, figure.change, f"{figure.n:,}")
        # Text, not str: a set is named by the user, and rich would read [brackets] as markup.
        table.add_row(*(Text(cell) for cell in (title, figure.title, *values)))
    console.print(table)
    console.print(_swap_table(report))
    for point in points(report):
        if point.kind != "fine":
            lead = Text(f"{point.label}: {point.title}. ", style="bold")
            console.print(lead + Text(point.text, style="not bold"))


def _swap_table(report: dict[str, Any]) -> Table:
    table = Table("tower swap, forget set", "figure", title=None)
    for heading in ("both old", "both new", "swapped", "95% interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    for swap in swap_figures(report):
        whole = swap.whole
        values = (whole.before_text, whole.after_text, swap.share_text, swap.share_interval)
        table.add_row(*(Text(cell) for cell in (swap.title, whole.title, *values)))
    return table
