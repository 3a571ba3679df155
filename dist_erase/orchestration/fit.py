"""Ray Train: one fit of the ranks on the cluster, from their settings to how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.train import FailureConfig, ScalingConfig
from ray.train import RunConfig as RayRunConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

from dist_erase.config.run import RunConfig
from dist_erase.cpu_memory import KEPT_IN_ALL_THREADS
from dist_erase.errors import refusal
from dist_erase.orchestration.failed_attempts import TellFailures
from dist_erase.orchestration.no_place import no_place, time_to_start
from dist_erase.orchestration.outcome import OUTCOME, user_error
from dist_erase.orchestration.train_entry import Sealed, train_on_rank

# Ray Train's own, which a run here has no use for: see `_Trainer`.
LEFT_OUT = {"PlacementGroupCleanerCallback", "DatasetsCallback"}
_CONTROLLER_FAILURES = 2  # Ray's default is to try an infeasible worker group for ever
# A node often outlives the moment that was announced; a checkpoint half written needs seconds.
_PREEMPTION_GRACE_SECONDS = 10.0


def fit(config: RunConfig, folder: Path, metrics_at: Path, teachers: Sequence[Any]) -> None:
    """Trains once on the workers that the cluster has; `teachers` are the pool's handles.

    Raises:
        UserError: one that a rank has left.
        NoPlaceError: the workers found no place again.
        OSError: the system refused something to a rank, at its last attempt too; named.
    """
    (folder / OUTCOME).unlink(missing_ok=True)
    resources = dict(config.ray.resources_per_worker)
    use_gpu = resources.get("GPU", 0) > 0
    trainer = _Trainer(
        train_on_rank,
        train_loop_config={
            "config": Sealed(config.model_dump(mode="json")),
            "folder": str(folder),
            "metrics_at": str(metrics_at),
            "teachers": list(teachers),
        },
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=config.ray.workers, use_gpu=use_gpu, resources_per_worker=resources
        ),
        run_config=RayRunConfig(
            name=config.run.name,
            storage_path=str(folder / "ray"),
            worker_runtime_env={} if use_gpu else {"env_vars": KEPT_IN_ALL_THREADS},
            failure_config=FailureConfig(
                max_failures=config.ray.max_failures,
                controller_failure_limit=_CONTROLLER_FAILURES,
                preemption_grace_s=_PREEMPTION_GRACE_SECONDS,
            ),
            callbacks=[TellFailures(folder, config.ray.max_failures)],
        ),
    )
    try:
        with time_to_start(config):
            trainer.fit()
    except TrainingFailedError as error:
        interrupted = no_place(error, config, folder)
        if interrupted is not None:
            raise interrupted from None
        refused = refused_to_a_rank(error)
        if refused is not None:
            raise refused from None
        raise
    finally:
        left = user_error(folder)
        if left is not None:
            raise left from None


def refused_to_a_rank(error: TrainingFailedError) -> OSError | None:
    """What the system refused a rank in the last attempt (`errors.refusal`); None of other errors.

    The other ranks' errors only say that they lost this one.
    """
    if not isinstance(error, WorkerGroupError):
        return None
    failures = error.worker_failures.values()
    return next((each for each in failures if isinstance(each, OSError) and refusal(each)), None)


class _Trainer(TorchTrainer):  # type: ignore[misc]  # Ray ships no types
    """Leaves Ctrl-C to the driver, and the workers' places to Ray's core."""

    def _register_sigint_handler(self, controller: Any) -> None:
        """Without one: Ray's would end the driver with exit code 0."""

    def _create_default_callbacks(self) -> list[Any]:
        """Without the actors that free the workers' places and that serve Ray's data sets.

        The first, for when the controller has died, asks the cluster that `auto` finds on its
        machine. Where that is another one, which does not know the controller, it takes it for dead
        and kills the workers. Ray's core frees the places too, as soon as the driver, which ends
        with the controller, has ended. The second costs each start a process that imports all of
        Ray Data; the ranks read their shards themselves.
        """
        callbacks = super()._create_default_callbacks()
        return [each for each in callbacks if type(each).__name__ not in LEFT_OUT]
