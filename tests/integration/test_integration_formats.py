"""orchestration/formats.yaml says what stands in the files of a real run, key by key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from support.pages import ROOT

from dist_erase.batch import Quarantined
from dist_erase.orchestration.formats import ALWAYS, formats
from dist_erase.storage import read_json_lines

pytestmark = pytest.mark.integration
PAGE = ROOT / "docs" / "reference" / "formats.md"


def leaves(value: Any, path: str = "") -> Iterator[str]:
    """Dotted keys of everything that holds no further keys."""
    if not isinstance(value, dict) or not value:
        yield path
        return
    for key, inner in value.items():
        yield from leaves(inner, f"{path}.{key}" if path else key)


def same(told: str, found: str) -> bool:
    """Whether a key of the page, with NAMES in capitals, stands for a key of a file."""
    parts = [r".+" if part.isupper() else re.escape(part) for part in told.split(".")]
    return re.fullmatch(r"\.".join(parts), found) is not None


def check(section: str, found: set[str]) -> None:
    told = formats()[section]
    unknown = {key for key in found if not any(same(one.name, key) for one in told)}
    assert not unknown, f"formats.yaml does not tell of {sorted(unknown)}"
    always = [one.name for one in told if one.there == ALWAYS]
    missing = {key for key in always if not any(same(key, f) for f in found)}
    assert not missing, f"formats.yaml tells of {sorted(missing)}, which is not there"


@pytest.fixture(scope="module")
def folder(killed):
    return killed


def test_the_run_folder_holds_what_is_told(folder):
    check("The run folder", {path.name for path in folder.iterdir()})


@pytest.mark.parametrize("name", ["config.json", "end.json", "outcome.json", "report.json"])
def test_json_files_of_a_run(folder, name):
    check(name, set(leaves(json.loads((folder / name).read_text()))))


def test_rows_and_events(folder):
    rows = read_json_lines(folder / "metrics.jsonl")
    for row in rows:
        kind = "an event" if "event" in row else "a step"
        check(f"metrics.jsonl, {kind}", set(leaves(row)))
    events = {row["event"] for row in rows if "event" in row}
    assert all(f"`{event}`" in PAGE.read_text(encoding="utf-8") for event in events)


def test_the_state_of_a_checkpoint(folder):
    for state in folder.glob("checkpoints/*/state.json"):
        check("state.json", set(leaves(json.loads(state.read_text()))))
        manifest = json.loads((state.parent / "manifest.json").read_text())
        assert set(manifest) == {p.name for p in state.parent.iterdir()} - {"manifest.json"}


def test_the_record_of_a_data_set(digits):
    check("dataset.json", set(leaves(json.loads((digits / "dataset.json").read_text()))))


def test_quarantined_samples():
    check("quarantine.jsonl", {"step", *(field.name for field in fields(Quarantined))})
