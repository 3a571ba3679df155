"""What every rank of an erasing run does, whoever started it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from dist_erase.config.run import RunConfig
from dist_erase.distributed.context import RankContext
from dist_erase.errors import InterruptedRunError, UserError
from dist_erase.observability.emit import Metrics
from dist_erase.observability.snapshot import SnapshotWriter
from dist_erase.orchestration.outcome import OUTCOME, leave_user_error
from dist_erase.orchestration.rank_words import SaidElsewhereError
from dist_erase.orchestration.run_folder import index_cache
from dist_erase.storage import write_json
from dist_erase.teacher.client import TeacherClient
from dist_erase.training.assemble import train
from dist_erase.training.data_plan import plan_run
from dist_erase.training.recipe import recipe_for_run


def run_rank(
    config: RunConfig,
    folder: Path,
    context: RankContext,
    teacher: TeacherClient | None,
    *,
    metrics_at: Path,
) -> None:
    """Trains this rank's share; rank 0 leaves `outcome.json` in the run folder.

    An error that a person must mend is left in `user_error.json` and then raised: a launcher
    that restarts ranks would otherwise meet it again and again.

    Args:
        config: of the run.
        folder: of the run.
        context: this rank.
        teacher: asked for embeddings.
        metrics_at: where metrics are left, see `watching.metrics_folder`.

    Raises:
        UserError: bad input.
        InterruptedRunError: asked to stop; a checkpoint was written.
    """
    metrics = Metrics(run=config.run.name, role="student", rank=context.rank)
    snapshots = SnapshotWriter(metrics, metrics_at)
    try:
        data = plan_run(config, index_cache(config), look_for_overlap=False, unwritten=True)
        outcome = train(
            recipe_for_run(config, data),
            folder=folder,
            context=context,
            teacher=teacher,
            metrics=metrics,
        )
    except UserError as error:
        if leave_user_error(folder, error, rank=context.rank):
            raise
        raise SaidElsewhereError(error.where, error.problem, error.mend) from None
    except InterruptedRunError as error:
        if context.is_first:
            asked = error.asked
            write_json(folder / OUTCOME, {"interrupted": [error.step, asked.kind, asked.words]})
        raise
    finally:
        snapshots.close()
    if context.is_first:
        write_json(folder / OUTCOME, asdict(outcome))
