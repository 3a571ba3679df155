"""A replayed batch as files: its images, a contact sheet and the facts."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from dist_erase.errors import UserError
from dist_erase.orchestration.replay import Place, Replayed
from dist_erase.storage import write_json

FACTS, SHEET = "batch.json", "index.html"
SHEETS = "sheets.jsonl"  # in the run folder: where images of its pairs were written
_KIND = "dist-erase replay"


def as_json(replayed: Replayed) -> dict[str, Any]:
    """The facts for machines; no pixels."""
    return {
        "kind": _KIND,
        "run": replayed.run,
        "step": replayed.step,
        "digest": replayed.digest,
        "recorded": replayed.recorded,
        "verdict": replayed.verdict,
        "changes": list(replayed.changes),
        "pairs": [asdict(place) for place in replayed.places],
    }


def write_sheet(replayed: Replayed, run_folder: Path, out: Path) -> None:
    """Writes images (PNG), index.html and batch.json to `out`, whole or not at all.

    The run folder remembers where, so that `dist-erase purge` finds them.

    Raises:
        UserError: `out` holds something else, or a folder cannot be written.
    """
    foreign = sorted(set(out.iterdir()) - set(own_files(out))) if out.is_dir() else []
    if foreign or out.is_file():
        raise UserError(
            "--out",
            f"{out} is no replay, or holds something else ({(foreign or [out])[0].name}).",
            "Name another folder.",
        )
    staging = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        _remember(run_folder, out, replayed.step)
        staging.mkdir(parents=True)
        _write(replayed, staging)
        shutil.rmtree(out, ignore_errors=True)
        os.replace(staging, out)
    except OSError as error:
        raise UserError(
            "--out",
            f"{error.filename} cannot be written ({error.strerror}).",
            "The run folder must be writable too: it notes where images of its pairs are.",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def own_files(folder: Path) -> list[Path]:
    """What `write_sheet` made there, as far as it is there; [] if it was another."""
    if not is_sheet(folder):
        return []
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    names = [Path(pair["image"]).name for pair in facts["pairs"]]
    return [folder / name for name in (*names, SHEET, FACTS) if (folder / name).is_file()]


def is_sheet(folder: Path) -> bool:
    """Whether the folder is one that `write_sheet` made."""
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and facts.get("kind") == _KIND


def known_sheets(run_folder: Path) -> list[Path]:
    """Folders with replayed images of a run that are still there, wherever they are."""
    path = run_folder / SHEETS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    noted = [Path(json.loads(line)["folder"]) for line in lines if line.endswith("}")]
    moved = [facts.parent for facts in run_folder.rglob(FACTS)]
    return [folder for folder in dict.fromkeys([*noted, *moved]) if is_sheet(folder)]


def _remember(run_folder: Path, out: Path, step: int) -> None:
    row = {"folder": str(out.resolve()), "step": step, "time": time.time()}
    with (run_folder / SHEETS).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")


def _write(replayed: Replayed, folder: Path) -> None:
    files = [_file(place) for place in replayed.places]
    for name, pixels in zip(files, replayed.images, strict=True):
        Image.fromarray(pixels).save(folder / name)
    facts = as_json(replayed)
    for pair, name in zip(facts["pairs"], files, strict=True):
        pair["image"] = name
    streams: dict[str, list[tuple[str, Place]]] = {}
    for name, place in zip(files, replayed.places, strict=True):
        streams.setdefault(place.stream, []).append((name, place))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("replay_sheet.html").render(
        **{key: facts[key] for key in ("run", "step", "digest", "recorded", "verdict")},
        streams=list(streams.items()),
    )
    (folder / SHEET).write_text(page, encoding="utf-8")
    write_json(folder / FACTS, facts)


def _file(place: Place) -> str:
    return f"{place.stream}-{place.place:06d}.png"
