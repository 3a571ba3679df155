"""Which runs a cluster can hold, by arithmetic; nothing is refused that any placing would fit."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dist_erase.config.run import RunConfig
from dist_erase.orchestration.cluster import Bundle, homeless

SETS = {"forget": {"shards": "f.tar"}, "retain": {"shards": "r.tar"}}


def config(workers: int, worker: Bundle, replicas: int, teacher: Bundle) -> RunConfig:
    tree = {
        "model": {"architecture": "ViT-B-32", "pretrained": "openai"},
        "data": {**SETS, "eval": SETS},
        "train": {"forget_batch": 8, "retain_batch": 8},
        "teacher": {"kind": "pool", "replicas": replicas} if replicas else {"kind": "local"},
        "ray": {"workers": workers, "resources_per_worker": worker, "teacher_resources": teacher},
    }
    return RunConfig.model_validate(tree)


A = {"CPU": 32.0, "GPU": 8.0, "node:10.0.0.1": 1.0}
B = {"CPU": 16.0, "node:10.0.0.2": 1.0}


@pytest.mark.parametrize("nodes", [[A, B], [B, A]])
def test_teachers_that_need_no_gpu_leave_the_cpus_beside_gpus_to_workers(nodes):
    wanted = config(8, {"CPU": 4, "GPU": 1}, 2, {"CPU": 4})
    assert homeless(wanted, nodes) == (0, 0)


@pytest.mark.parametrize("nodes", [[A, B], [B, A]])
def test_what_is_too_much_is_counted(nodes):
    assert homeless(config(9, {"CPU": 1, "GPU": 1}, 2, {"CPU": 4}), nodes) == (0, 1)
    assert homeless(config(8, {"CPU": 4, "GPU": 1}, 5, {"CPU": 4}), nodes) == (0, 1)
    assert homeless(config(2, {"CPU": 40}, 2, {"licence": 1}), nodes) == (2, 2)
    assert homeless(config(2, {"CPU": 1}, 0, {"CPU": 1}), []) == (0, 2)


def test_the_cluster_as_a_whole_may_have_enough_and_no_node_room_for_one():
    nodes = [{"CPU": 3.0}, {"CPU": 3.0}]
    assert homeless(config(3, {"CPU": 2}, 0, {"CPU": 1}), nodes) == (0, 1)


def test_shares_of_a_unit_add_up():
    """0.1 + 0.2 is more than 0.3 for a computer."""
    assert homeless(config(1, {"CPU": 0.1}, 1, {"CPU": 0.2}), [{"CPU": 0.3}]) == (0, 0)
    assert homeless(config(3, {"GPU": 0.33333}, 0, {"CPU": 1}), [{"GPU": 1.0}]) == (0, 0)


def test_hundreds_of_nodes_are_no_matter():
    wanted = config(2000, {"CPU": 4, "GPU": 1}, 100, {"CPU": 4})
    assert homeless(wanted, [A, B] * 125) == (0, 1000)


def best_by_trying(workers: int, worker: Bundle, replicas: int, teacher: Bundle, nodes) -> int:
    """How many of both find room, over every choice of a node or none for each of them."""
    wanted = [worker] * workers + [teacher] * replicas
    best = 0
    for places in product([None, *range(len(nodes))], repeat=len(wanted)):
        fits = all(
            sum(one.get(name, 0) for one, at in zip(wanted, places, strict=True) if at == number)
            <= nodes[number].get(name, 0)
            for number in range(len(nodes))
            for name in ("CPU", "GPU")
        )
        best = max(best, sum(at is not None for at in places)) if fits else best
    return best


BUNDLES = st.fixed_dictionaries({"CPU": st.integers(1, 4)}, optional={"GPU": st.integers(1, 2)})
NODES = st.lists(
    st.fixed_dictionaries({"CPU": st.integers(1, 8)}, optional={"GPU": st.integers(1, 3)}),
    max_size=3,
)


@settings(deadline=None)
@given(st.integers(1, 3), BUNDLES, st.integers(0, 2), BUNDLES, NODES)
def test_as_many_find_room_as_by_trying_everything(workers, worker, replicas, teacher, nodes):
    left = homeless(config(workers, worker, replicas, teacher), nodes)
    assert min(left) >= 0
    found = best_by_trying(workers, worker, replicas, teacher, nodes)
    assert workers + replicas - sum(left) == found
    assert homeless(config(workers, worker, replicas, teacher), nodes[::-1]) == left
