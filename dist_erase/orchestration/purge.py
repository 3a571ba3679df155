"""`dist-erase purge`: what derives from forget pairs goes, the record of the run stays."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dist_erase.config.explain import config_hash
from dist_erase.config.run import RunConfig
from dist_erase.data.source import forget_shard
from dist_erase.errors import UserError
from dist_erase.orchestration.ending import ending_of_code
from dist_erase.orchestration.forget_traces import Traces, derives, find_traces
from dist_erase.orchestration.replay_sheet import known_sheets
from dist_erase.orchestration.report_names import replace_names
from dist_erase.orchestration.run_folder import END, alone
from dist_erase.orchestration.stored_run import stored_config
from dist_erase.storage import read_json_lines, write_json, write_text
from dist_erase.training.account import QUARANTINE

RECORD = "purge.json"
NOT_DELETED = (
    "the model and the checkpoints (with a floor per pair they hold one number for each forget "
    "pair)",
    "config.json, which names the shards by their patterns",
    "the source shards, data sets made from them, review sheets of `data split`, and files that "
    "`data verify --quarantine` wrote",
    "metrics in Prometheus' own storage (no names are in them), Ray's logs outside the run folder",
    "other runs' folders, backups and copies, block caches on other machines",
    "what the commands of `pipe:` shards wrote (beside block_cache.dir, or among temporary files)",
)
_SCHEMA_VERSION = 1


def purge(
    folder: Path,
    *,
    dry_run: bool,
    confirm: Callable[[Traces], bool],
    cache_dir: Path | None = None,
) -> Traces:
    """Deletes what derives from forget pairs and notes that in purge.json.

    Args:
        folder: the run folder.
        dry_run: only look.
        confirm: asked before anything is deleted, unless nothing is to be.
        cache_dir: a block cache; None = the one of the run's configuration.

    Returns:
        What was found (and is gone, unless only looked for or not confirmed).

    Raises:
        UserError: no erasing run is there, or the run is at work.
    """
    config = stored_config(folder)
    if not isinstance(config, RunConfig):
        raise UserError(
            str(folder),
            "is a pretraining run, which has no forget pairs.",
            "Name an erasing run's folder.",
        )
    with alone(config):
        traces = find_traces(config, folder, cache_dir)
        if not dry_run and not traces.is_empty and confirm(traces):
            _purge(config, traces)
    return traces


def _purge(config: RunConfig, traces: Traces) -> None:
    path = traces.folder / RECORD
    record = _record(path)
    entry: dict[str, Any] = {
        "started": _now(),
        "finished": None,
        "run": config.run.name,
        "config_hash": config_hash(config),
        "deleted": [
            {"what": one.what, "files": len(one.files), "bytes": one.bytes}
            for one in traces.deletions
        ],
        "cached_blocks": {
            "blocks": traces.blocks.count if traces.blocks else 0,
            "bytes": traces.blocks.bytes if traces.blocks else 0,
        },
        "quarantine_lines": traces.quarantine,
        "names_replaced": len(traces.names),
        "ending_reworded": traces.ending,
    }
    record["purges"].append(entry)
    write_json(path, record)  # first, so that a purge that is killed leaves its counts
    if traces.blocks:  # before the index, which alone may know what shards a pattern stands for
        for shard in traces.blocks.shards:
            forget_shard(traces.blocks.folder, shard)
    sheets = known_sheets(traces.folder)
    entry["reports_sha256"] = replace_names(traces.folder, traces.names) if traces.names else {}
    _shorten_quarantine(traces)
    if traces.ending:
        _reword_ending(traces.folder / END)
    for one in traces.deletions:
        for file in one.files:
            file.unlink(missing_ok=True)
    for sheet in sheets:
        with suppress(OSError):  # somebody's own files are in it
            os.rmdir(sheet)
    entry["finished"] = _now()
    write_json(path, record)


def _shorten_quarantine(traces: Traces) -> None:
    if not traces.quarantine:
        return
    path = traces.folder / QUARANTINE
    kept = [row for row in read_json_lines(traces.folder / QUARANTINE) if not derives(row)]
    if kept:
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
    else:
        path.unlink()


def _reword_ending(path: Path) -> None:
    end = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, end | {"message": ending_of_code(end["exit_code"]).message})


def _record(path: Path) -> dict[str, Any]:
    if path.exists():
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record
    return {
        "schema_version": _SCHEMA_VERSION,
        "not_deleted": list(NOT_DELETED),
        "purges": [],
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
