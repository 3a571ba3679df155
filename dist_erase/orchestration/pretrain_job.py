"""`dist-erase pretrain`: a small CLIP, in one process, on the same loop."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dist_erase.config.model import LOCAL_DIR, ModelConfig
from dist_erase.config.run import PretrainConfig
from dist_erase.cpu_memory import keep_freed_memory
from dist_erase.errors import UserError
from dist_erase.evaluation.suite import measure
from dist_erase.observability.emit import Metrics
from dist_erase.observability.snapshot import SnapshotWriter
from dist_erase.orchestration.ending import ending
from dist_erase.orchestration.measuring import embed_held_out, told
from dist_erase.orchestration.paths import absolute
from dist_erase.orchestration.run_folder import (
    CONFIG,
    alone,
    claim,
    discard_unstarted,
    folder_of,
    index_cache,
    state_of,
)
from dist_erase.orchestration.signals import Sigterm
from dist_erase.orchestration.single import single_rank
from dist_erase.orchestration.stop_request import stop_requested
from dist_erase.orchestration.watching import metrics_folder, watched
from dist_erase.storage import sha256_of_file, write_json
from dist_erase.training.assemble import train
from dist_erase.training.data_plan import DataPlan, plan_pretrain
from dist_erase.training.loop import Outcome
from dist_erase.training.recipe import Recipe, recipe_for_pretrain

_RESULT, _CHECKPOINTS = "pretrain.json", "checkpoints"


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Where the model is, and what it reaches on the held-out set."""

    model: Path
    figures: dict[str, Any]
    trained_now: bool


def pretrain(config: PretrainConfig, *, overwrite: bool) -> Pretrained:
    """Trains, or finds the model trained before under the same configuration.

    An interrupted pretraining continues.

    Raises:
        UserError: bad input, the folder holds another run or a model that began with other
            weights, or another process is at work there.
        InterruptedRunError: SIGTERM or a stop file; a checkpoint was written, and the same call
            goes on.
    """
    config = absolute(config)
    if not overwrite and (found := _found(config)):
        return found
    with alone(config):
        # Again: since then, another process may have ended its work.
        found = None if overwrite else _found(config)
        return found or _pretrain(config, overwrite)


def _found(config: PretrainConfig) -> Pretrained | None:
    folder = folder_of(config)
    result = folder / _RESULT
    if state_of(config) != "same" or not result.exists():
        return None
    done: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    then, now = done.get("began_with"), _began_with(config)
    if then and now and then != now:
        raise UserError(
            "model.pretrained",
            f"{folder} began with other weights than those that lie there now.",
            "Train it again with --overwrite, or choose another run.name.",
        )
    shutil.rmtree(folder / _CHECKPOINTS, ignore_errors=True)  # of one that was killed at its end
    return Pretrained(model=folder / "model", figures=done["figures"], trained_now=False)


def _began_with(config: PretrainConfig) -> str | None:
    """SHA-256 of the file of weights that training begins with; None where there is none."""
    file = Path(config.model.pretrained or "")
    return sha256_of_file(file) if file.is_file() else None


def _pretrain(config: PretrainConfig, overwrite: bool) -> Pretrained:
    data = plan_pretrain(config, index_cache(config))
    recipe = recipe_for_pretrain(config, data)
    folder = folder_of(config)
    began_with = _began_with(config)  # now: the file may be another when training is over
    begun = (folder / CONFIG).exists() and not (folder / _RESULT).exists()
    resume = begun and not overwrite
    with ExitStack() as stack:
        folder = claim(config, resume=resume, overwrite=overwrite)
        if not resume:
            stack.callback(discard_unstarted, folder)
        at = metrics_folder(config.observe, folder)
        sigterm = stack.enter_context(Sigterm("the same command goes on"))
        driver = stack.enter_context(watched(config.observe, folder, metrics_at=at))
        stack.enter_context(ending(folder, driver))
        with sigterm.training():
            outcome = _train(recipe, folder, at, sigterm)
        with told(folder.name, at, data, "original") as progress:
            figures = _figures(config, data, folder, progress)
        write_json(
            folder / _RESULT,
            {
                "began_with": began_with,
                "steps": outcome.steps,
                "seconds": outcome.seconds,
                "samples_per_second": outcome.samples_per_second,
                "figures": figures,
            },
        )
    shutil.rmtree(folder / _CHECKPOINTS)
    return Pretrained(model=folder / "model", figures=figures, trained_now=True)


def _train(recipe: Recipe, folder: Path, metrics_at: Path, sigterm: Sigterm) -> Outcome:
    metrics = Metrics(run=folder.name, role="student", rank=0)
    with single_rank(lambda: sigterm.asked() or stop_requested(folder)) as context:
        if context.device.type == "cpu":
            keep_freed_memory()
        snapshots = SnapshotWriter(metrics, metrics_at)
        try:
            return train(recipe, folder=folder, context=context, teacher=None, metrics=metrics)
        finally:
            snapshots.close()


def _figures(
    config: PretrainConfig, data: DataPlan, folder: Path, metrics: Metrics
) -> dict[str, Any]:
    model = ModelConfig(
        architecture=config.model.architecture, pretrained=f"{LOCAL_DIR}{folder / 'model'}"
    )
    embeddings, _ = embed_held_out(
        model,
        data,
        templates=config.evaluate.templates,
        batch=config.evaluate.batch,
        device="cpu",
        metrics=metrics,
        which="original",
    )
    return measure(embeddings)
