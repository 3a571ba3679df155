"""Workers that find no place again: an interruption with the newest checkpoint, and no bug."""

import os
from pathlib import Path

import pytest
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from dist_erase.config.load import load_config
from dist_erase.config.run import RunConfig
from dist_erase.orchestration.fit import fit
from dist_erase.orchestration.no_place import NoPlaceError, no_place, time_to_start

pytestmark = pytest.mark.integration
QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
SECONDS = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"


def config(*overrides: str) -> RunConfig:
    return load_config(QUICKSTART, ["teacher.kind=local", *overrides], RunConfig).config


def save(folder: Path, step: int) -> None:
    (folder / "checkpoints" / f"step-{step:08d}-attempt-1").mkdir(parents=True)


@pytest.mark.operations
def test_a_node_that_does_not_come_again_is_no_bug(ray_cluster, tmp_path, monkeypatch):
    """As after the loss of the only node with room: a real Ray Train that cannot place workers."""
    monkeypatch.setenv(SECONDS, "1")
    save(tmp_path, 40)
    gone = config('ray.resources_per_worker={"CPU":1,"GPU":1}', "ray.workers=2")
    with pytest.raises(NoPlaceError) as caught:
        fit(gone, tmp_path, tmp_path / "metrics", [])
    said = str(caught.value)
    assert said.startswith("the workers found no place again (asked CPU 2, GPU 2; in the cluster")
    assert said.endswith("; step 40 is saved; `dist-erase run ... --resume` goes on, also with "
                         "fewer ray.workers")  # fmt: skip


def test_ray_waits_as_long_as_an_autoscaler_may_take(monkeypatch):
    monkeypatch.delenv(SECONDS, raising=False)
    for seconds, expected in ((0, 60), (900, 900)):
        with time_to_start(config(f"ray.autoscale_seconds={seconds}")):
            assert float(os.environ[SECONDS]) == expected
    assert SECONDS not in os.environ
    monkeypatch.setenv(SECONDS, "7")
    with time_to_start(config()):
        assert os.environ[SECONDS] == "7"
    assert os.environ[SECONDS] == "7"


def test_workers_that_die_at_their_start_go_on_only_where_something_is_saved(ray_cluster, tmp_path):
    died = ControllerError(WorkerGroupStartupFailedError("an actor died"))
    assert no_place(died, config(), tmp_path) is None
    save(tmp_path, 40)
    assert no_place(died, config(), tmp_path).step == 40


def test_other_errors_stay_what_they_are(ray_cluster, tmp_path):
    save(tmp_path, 40)
    for error in (ControllerError(ValueError("x")), WorkerGroupError("x", {0: ValueError("x")})):
        assert no_place(error, config(), tmp_path) is None
