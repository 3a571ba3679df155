"""The folder of one run: claimed once, resumed only by the same run."""

from __future__ import annotations

import glob
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from dist_erase.config.explain import config_hash
from dist_erase.config.load import flat
from dist_erase.config.run import PretrainConfig, RunConfig
from dist_erase.config.secrets import recorded
from dist_erase.errors import UserError
from dist_erase.storage import write_json
from dist_erase.training.attempts import ATTEMPTS, replaced

CONFIG = "config.json"
END = "end.json"
FATAL = "user_error.json"
FAILURE = "rank_failure.json"
STOP = "stop"
ROWS = "metrics.jsonl"
METRICS = "metrics"
DISCOVERY = ".file_sd"
INDEX = ".index"
# What may differ between the parts of one run: where and how it runs, never what it learns.
_MAY_CHANGE = (
    "run.dir",
    "ray.",
    "observe.",
    "stop.",
    "evaluate.",
    "deepspeed.",
    "data.workers",
    "data.cache_bytes",
    "data.watchdog_seconds",
    "data.read.",
    "data.block_cache.",
    "data.storage",
    "data.overlap_scan_max",
    "data.max_corrupt_fraction",
    "teacher.kind",
    "teacher.replicas",
    "teacher.prefetch",
    "teacher.timeout_seconds",
    "train.zero_stage",
    "train.rank_timeout_seconds",
    "train.micro_batch",
    "train.epochs",
    "train.max_steps",
    "train.max_forget_passes",
    "train.checkpoint.",
)
_PATHS = ("shards", "classes", "architecture", "pretrained")


def folder_of(config: RunConfig | PretrainConfig) -> Path:
    """The run folder, whether it is there or not."""
    return Path(config.run.dir) / config.run.name


def check_claim(
    config: RunConfig | PretrainConfig, *, resume: bool = False, overwrite: bool = False
) -> Path:
    """Whether `claim` would succeed; changes nothing. Gives the run folder.

    Raises:
        UserError: it holds another run, there is nothing to resume, or the configuration
            differs in what a resumed run may not change.
    """
    folder = folder_of(config)
    stored = folder / CONFIG
    if resume and overwrite:
        raise UserError("--resume", "is given with --overwrite.", "Choose one of them.")
    if overwrite and folder.is_symlink():
        raise UserError(
            "--overwrite",
            f"{folder} is a link, and the folder that it names is not replaced.",
            "Remove the link, or choose another run.name or run.dir.",
        )
    if stored.exists() and not overwrite:
        if not resume:
            goes_on = "Continue it with --resume, replace" if _resumes(config) else "Replace"
            raise UserError(
                "run.name",
                f"{folder} already holds a run.",
                f"{goes_on} it with --overwrite, or choose another run.name.",
            )
        _refuse_changes(json.loads(stored.read_text(encoding="utf-8"))["config"], config)
    elif resume:
        raise UserError(
            "--resume", f"{folder} holds no run.", "Start it without --resume, or mend run.name."
        )
    elif folder.exists() and not stored.exists() and any(folder.iterdir()):
        raise UserError(
            "run.name",
            f"{folder} exists and is no run folder ({CONFIG} is missing).",
            "Choose another run.name or run.dir.",
        )
    return folder


def claim(
    config: RunConfig | PretrainConfig, *, resume: bool = False, overwrite: bool = False
) -> Path:
    """Makes the run folder this run's own; raises UserError as `check_claim` does.

    A run that is replaced is moved aside, until the new one has begun: that may still fail.
    """
    _settle_replacement(folder_of(config))
    folder = check_claim(config, resume=resume, overwrite=overwrite)
    stored = folder / CONFIG
    if overwrite and folder.exists():
        folder.rename(replaced(folder))
    folder.mkdir(parents=True, exist_ok=True)
    for left in (FATAL, FAILURE, END, STOP):
        (folder / left).unlink(missing_ok=True)
    shutil.rmtree(folder / METRICS, ignore_errors=True)  # of the ranks of an earlier part
    for address in announced(folder):  # by a driver that was killed
        address.unlink(missing_ok=True)
    kept = recorded(config.model_dump(mode="json"))
    write_json(stored, {"hash": config_hash(config), "config": kept})
    return folder


def discovery(folder: Path) -> Path:
    """Where service discovery files of the run lie, one for each address, while it lives."""
    return folder.parent / DISCOVERY


def announced(folder: Path) -> list[Path]:
    """Those that are there: the driver's first, then the nodes'."""
    files, run = discovery(folder), folder.name
    nodes = sorted(files.glob(f"{glob.escape(run)}@*.json"))
    return [path for path in (files / f"{run}.json", *nodes) if path.exists()]


def discard_unstarted(folder: Path) -> None:
    """Removes a folder that was claimed anew and in which no rank ever started.

    The run that it was to replace is back then.
    """
    if not (folder / ATTEMPTS).exists():
        shutil.rmtree(folder)
    _settle_replacement(folder)


def _settle_replacement(folder: Path) -> None:
    """Ends what `claim` began with --overwrite, also for a driver that was killed since."""
    aside = replaced(folder)
    if not aside.exists():
        return
    if (folder / ATTEMPTS).exists():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)


def lock_of(config: RunConfig | PretrainConfig) -> Path:
    """The file that the driver of a run holds locked while it works."""
    return Path(config.run.dir) / f".{config.run.name}.lock"


@contextmanager
def alone(config: RunConfig | PretrainConfig) -> Iterator[None]:
    """Inside, no other driver works on the same run folder; UserError if one does.

    A run whose replacement was killed before it began is back in its place.
    """
    path = lock_of(config)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            "run.name",
            f"another process is at work on the run {config.run.name}.",
            "Wait for it or stop it, or choose another run.name.",
        ) from None
    try:
        _settle_replacement(folder_of(config))
        yield
    finally:
        lock.release()


def state_of(
    config: RunConfig | PretrainConfig,
) -> Literal["absent", "same", "other"]:
    """Whether the run folder holds this very configuration."""
    stored = folder_of(config) / CONFIG
    if not stored.exists():
        return "absent"
    saved = json.loads(stored.read_text(encoding="utf-8"))
    return "same" if saved["hash"] == config_hash(config) else "other"


def _refuse_changes(old: dict[str, Any], config: RunConfig | PretrainConfig) -> None:
    before, now = flat(old), flat(recorded(config.model_dump(mode="json")))
    changed = [
        key
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
        and not f"{key}.".startswith(_MAY_CHANGE)
        and key.rpartition(".")[2] not in _PATHS
    ]
    if changed:
        listed = "; ".join(f"{k}: {before.get(k)} before, {now.get(k)} now" for k in changed)
        raise UserError(
            "--resume" if _resumes(config) else "run.name",
            f"the configuration differs from the run's own ({listed}).",
            "Put these back, or start another run under another run.name.",
        )


def _resumes(config: RunConfig | PretrainConfig) -> bool:
    """Whether its command has the option --resume; a pretraining goes on by itself."""
    return isinstance(config, RunConfig)


def index_cache(config: RunConfig | PretrainConfig) -> Path:
    """Where shard scans are kept; shared by the runs of one folder, safe to delete."""
    return Path(config.run.dir) / INDEX
