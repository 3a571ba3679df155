import os

import pytest
import ray


@pytest.fixture(scope="session")
def ray_cluster():
    """One real Ray for all tests; logical CPUs, since the machine has two. Gives HOST:PORT."""
    ray.init(num_cpus=4, include_dashboard=False, address="local", log_to_driver=False)
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


# No test may find a real account. Set here, before any test starts a fork server, whose children
# see the environment of its start.
os.environ |= {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Who shares fixtures shares a process; the longest are first: those with the cluster, then
    the runs without it.

    Only `make test` runs several (pytest-xdist, `--dist loadgroup`).
    """

    def on_cluster(item):
        return not {"ray_cluster", "original"}.isdisjoint(item.fixturenames)

    def group(item):
        return "cluster" if on_cluster(item) else item.path.parent.name

    first = ["cluster", "integration"]
    items.sort(key=lambda item: first.index(group(item)) if group(item) in first else len(first))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))


def pytest_addoption(parser):
    parser.addoption(
        "--answers", help="file for what Prometheus answered to the dashboards' queries"
    )
