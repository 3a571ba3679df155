"""Reads a CSV or JSONL table of images with captions; whatever is wrong is named by line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dist_erase.config.nearest import did_you_mean
from dist_erase.errors import UserError

COLUMNS = ("image", "caption", "split", "set", "label")
_CHOICES = {"split": ("train", "eval"), "set": ("forget", "retain")}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line: an image with one of its captions; None where an optional field is empty.

    `image` is the path as written, below the folder `root`.
    """

    table: Path
    line: int
    root: Path
    image: Path
    caption: str
    split: str | None
    set: str | None
    label: str | None

    def error(self, field: str, problem: str, mend: str) -> UserError:
        """A message that names file, line and field."""
        return UserError(f"{self.table}, line {self.line}, {field}", problem, mend)


def read_table(table: Path, images: Path) -> list[Row]:
    """Reads every row of `table` (.csv with a header, or .jsonl); image paths start at `images`.

    Raises:
        UserError: a missing or unreadable table, a missing column, an empty image or caption, or
            a split or set of another name.
    """
    readers = {".csv": _csv_lines, ".jsonl": _json_lines}
    if table.suffix not in readers:
        raise UserError(str(table), "is neither .csv nor .jsonl.", "Name a table of either kind.")
    if not table.is_file():
        raise UserError(str(table), "does not exist.", "Name a CSV or JSONL table.")
    try:
        rows = [_row(table, line, facts, images) for line, facts in readers[table.suffix](table)]
    except UnicodeDecodeError as error:
        raise UserError(str(table), f"is not UTF-8 ({error}).", "Save it as UTF-8.") from error
    if not rows:
        raise UserError(str(table), "holds no rows.", "Add a line for each image and caption.")
    return rows


def _csv_lines(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    # utf-8-sig: spreadsheets put a byte-order mark before the first column's name.
    with table.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, strict=True)
        try:
            for facts in reader:
                if None in facts:
                    raise UserError(
                        f"{table}, line {reader.line_num}",
                        f"has more fields than the header ({', '.join(reader.fieldnames or ())}).",
                        "Quote captions that contain commas.",
                    )
                yield reader.line_num, facts
        except csv.Error as error:
            raise UserError(
                f"{table}, line {reader.line_num}", f"is not CSV ({error}).", "Mend the line."
            ) from error


def _json_lines(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with table.open(encoding="utf-8") as stream:
        for line, text in enumerate(stream, start=1):
            if not text.strip():
                continue
            try:
                facts = json.loads(text)
            except ValueError as error:
                raise UserError(
                    f"{table}, line {line}", f"is not JSON ({error}).", "Mend the line."
                ) from error
            if not isinstance(facts, dict):
                raise UserError(
                    f"{table}, line {line}", "is not a JSON object.", 'Write {"image": ...}.'
                )
            yield line, facts


def _row(table: Path, line: int, facts: dict[str, Any], images: Path) -> Row:
    values: dict[str, str | None] = {}
    for column in COLUMNS:
        value = facts.get(column)
        values[column] = str(value).strip() or None if value is not None else None
    for column in ("image", "caption"):
        if column not in facts:
            raise UserError(
                f"{table}, line {line}",
                f"has no {column} (its fields: {', '.join(facts)}).",
                f"{did_you_mean(column, facts)}Call the column {column}.",
            )
        if values[column] is None:
            raise UserError(f"{table}, line {line}, {column}", "is empty.", "Fill it in.")
    for column, choices in _CHOICES.items():
        if values[column] is not None and values[column] not in choices:
            raise UserError(
                f"{table}, line {line}, {column}",
                f"is {values[column]!r}.",
                f"Write {' or '.join(choices)}, or leave it empty.",
            )
    return Row(
        table=table,
        line=line,
        root=images,
        image=Path(str(values["image"])),
        caption=str(values["caption"]),
        split=values["split"],
        set=values["set"],
        label=values["label"],
    )
