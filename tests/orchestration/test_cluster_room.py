"""Whether a run finds room on a cluster, and what is said when it does not."""

import time
from pathlib import Path

import pytest
import ray
from ray.util.placement_group import (
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from dist_erase.config.load import load_config
from dist_erase.config.run import RayConfig, RunConfig
from dist_erase.errors import UserError
from dist_erase.orchestration.cluster import check_room, cluster, wait_for_room, workers_find_room
from dist_erase.teacher.pool import _place

pytestmark = pytest.mark.integration
QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"


def config(*overrides: str) -> RunConfig:
    return load_config(QUICKSTART, overrides, RunConfig).config


def refusal(ask, wanted: RunConfig, **options) -> tuple[str, float]:
    """What is said, and after how many seconds."""
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        ask(wanted, **options)
    return str(caught.value), time.monotonic() - start


def test_what_can_never_fit_is_refused_at_once_with_what_is_missing(ray_cluster):
    said, seconds = refusal(check_room, config('ray.resources_per_worker={"CPU":1,"GPU":1}'))
    assert "2 of 2 workers and 2 teacher replicas find no room, first a worker" in said
    assert "GPU: 2 asked, 0 in the cluster" in said
    assert seconds < 5


def test_with_an_autoscaler_it_waits_as_long_as_that_may_take(ray_cluster):
    wanted = config('ray.resources_per_worker={"CPU":1,"GPU":1}', "ray.autoscale_seconds=3")
    check_room(wanted)
    said, seconds = refusal(wait_for_room, wanted, seconds=1)
    assert "found no free place in 3 s" in said
    assert "GPU: 2 asked, 0 free of 0" in said
    assert 3 <= seconds < 10


def test_workers_of_a_drained_node_wait_for_the_autoscaler_too(ray_cluster):
    wanted = config('ray.resources_per_worker={"CPU":1,"GPU":1}', "ray.autoscale_seconds=3")
    start = time.monotonic()
    assert not workers_find_room(wanted, seconds=1)
    assert 3 <= time.monotonic() - start < 10


def test_whoever_waits_may_be_called_off(ray_cluster):
    def end() -> None:
        raise InterruptedError

    wanted = config('ray.resources_per_worker={"CPU":1,"GPU":1}', "ray.autoscale_seconds=60")
    start = time.monotonic()
    with pytest.raises(InterruptedError):
        wait_for_room(wanted, check=end)
    assert time.monotonic() - start < 5


def test_what_measures_the_models_must_find_room_where_no_pool_shows_that_it_does(ray_cluster):
    alone = ["teacher.kind=local", "ray.workers=1"]
    said, seconds = refusal(check_room, config(*alone, 'ray.teacher_resources={"CPU":5}'))
    assert "no node has room to measure the models" in said
    assert "CPU: 5 asked, at most 4 on a node" in said
    assert seconds < 5
    wanted = config(*alone, 'ray.teacher_resources={"CPU":4}')
    check_room(wanted)
    others = placement_group([{"CPU": 1}])
    try:
        assert others.wait(10)
        said, seconds = refusal(wait_for_room, wanted, seconds=2)
    finally:
        remove_placement_group(others)
    assert "no node had room to measure the models within 2 s" in said
    assert seconds < 10


def test_a_run_that_fits_is_let_in(ray_cluster):
    check_room(config())
    wait_for_room(config())


@pytest.mark.parametrize("placement", ["pack", "spread"])
def test_teachers_are_placed_as_asked(ray_cluster, placement):
    group = _place(2, {"CPU": 0.25}, placement, 10)
    try:
        assert placement_group_table(group)["strategy"] == placement.upper()
    finally:
        remove_placement_group(group)


def test_a_cluster_of_another_version_is_named(monkeypatch):
    """Ray raises it in the driver, as RuntimeError."""
    said = "Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.12.1"

    def init(**_):
        raise RuntimeError(said)

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(UserError) as caught, cluster(RayConfig(address="local")):
        pass
    assert str(caught.value) == (
        "ray.address: the cluster at local runs other versions (Version mismatch: The cluster "
        "was started with: Ray: 2.9.0 Python: 3.12.1). Install here the Ray and the Python that it "
        "runs."
    )
