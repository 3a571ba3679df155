import io

from rich.console import Console

from dist_erase.evaluation.report.build import build_report
from dist_erase.evaluation.report.table import print_table


def printed(parts, width=120):
    out = io.StringIO()
    print_table(build_report(**parts), Console(file=out, width=width))
    return out.getvalue()


def test_every_figure_has_before_after_change_and_n(report_parts):
    report_parts["before"]["zero_shot"]["forget"]["top1"] = 0.75
    report_parts["after"]["zero_shot"]["forget"]["top1"] = 0.25
    lines = printed(report_parts).splitlines()
    first = next(line for line in lines if "Forget" in line)
    assert [cell.strip() for cell in first.split("│")[1:-1]] == [
        "Forget",
        "Zero-shot top-1",
        "75.0%",
        "25.0%",
        "−50.0 points",
        "12",
    ]
    assert sum("Recall@" in line for line in lines) == 12 + 2
    assert any("No hold-out sets were given." in line for line in lines)


def test_names_are_not_markup(report_parts):
    report_parts["run_name"] = "[red]run[/red]"
    report_parts["forget_never_read"] = ["[/bold].tar/1"]
    name = "untouched/[dim]x[/dim]"
    for side in ("before", "after"):
        for task in ("zero_shot", "retrieval", "similarity"):
            report_parts[side][task][name] = report_parts[side][task]["retain"]
    report_parts["n"][name] = report_parts["n"]["retain"]
    text = printed(report_parts)
    assert "Untouched: [dim]x[/dim]" in text
    assert "[red]run[/red]" in text
    assert "[/bold].tar/1" in text
