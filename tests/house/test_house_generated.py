"""What is made from the code says what the code says; `make generate` writes it again."""

from pathlib import Path
from typing import get_type_hints

import cli_surface
import pytest

from dist_erase.batch import Quarantined
from dist_erase.cli import reference as cli_reference
from dist_erase.config.reference import reference
from dist_erase.observability import reference as metrics_reference
from dist_erase.observability.metrics import DEFINITIONS
from dist_erase.observability.rows import EventRow, StepRow
from dist_erase.orchestration import formats
from dist_erase.training.checkpoint import Progress
from monitoring.generate.files import generated

ROOT = Path(__file__).parents[2]


def test_the_reference_of_configuration_keys_is_not_stale():
    written = (ROOT / "docs/reference/config.md").read_text(encoding="utf-8")
    assert written == reference(), "run `make generate`"


def test_the_reference_of_metrics_is_not_stale_and_names_all_of_them():
    written = (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")
    assert written == metrics_reference.reference(), "run `make generate`"
    assert [name for d in DEFINITIONS if f"| `{(name := d.name)}` |" not in written] == []


def test_the_reference_names_every_kind_of_key():
    page = reference()
    assert "| `lr` | number, > 0 | `1.0e-05` |" in page
    assert "| `pretrained` | text or null | `laion2b_s34b_b79k` |" in page
    assert "| `zero_stage` | `0` or `1` or `2` or `3` | `2` |" in page
    assert "### `data.forget`" in page
    assert "`data.eval.untouched.NAME`" in page
    assert "| `paper` | `forget.floor: none`, `forget.side: above`," in page


def test_the_reference_of_file_formats_is_not_stale():
    written = (ROOT / "docs/reference/formats.md").read_text(encoding="utf-8")
    assert written == formats.reference(), "run `make generate`"


@pytest.mark.parametrize(
    ("file", "type_"),
    [
        ("metrics.jsonl, a step", StepRow),
        ("metrics.jsonl, an event", EventRow),
        ("quarantine.jsonl", Quarantined),
        ("state.json", Progress),
    ],
)
def test_the_formats_name_every_field_of_what_is_written(file, type_):
    told = {key.name.partition(".")[0] for key in formats.formats()[file]}
    assert set(get_type_hints(type_)) <= told


def test_the_command_line_changes_only_on_purpose():
    written = (Path(__file__).parent / "cli_surface.txt").read_text(encoding="utf-8")
    assert written == cli_surface.surface(), (
        "commands or options changed: is that meant for users? then run `make generate`"
    )


def test_the_reference_of_commands_is_not_stale_and_names_all_of_them():
    written = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    assert written == cli_reference.reference(), "run `make generate`"
    assert [c for c in cli_surface.commands() if f"## `{c}`\n" not in written] == []
    assert "| `--kind run/pretrain` | `run` | The command that reads it. |" in written
    assert "    dist-erase run [OPTIONS] CONFIG [KEY=VALUE …]\n" in written


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.name)
def test_dashboards_and_alerts_are_not_stale(path):
    assert path.read_text(encoding="utf-8") == generated()[path], "run `make generate`"
