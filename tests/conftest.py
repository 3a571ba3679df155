import gc
import os

import pytest
import ray
from support.groups import place_of

pytest_plugins = ["support.light"]


@pytest.fixture(scope="session")
def ray_cluster():
    """One real Ray for all tests; logical CPUs, since the machine has two. Gives HOST:PORT."""
    ray.init(num_cpus=4, include_dashboard=False, address="local", log_to_driver=False)
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


# Set here, before any test starts a fork server, whose children see the environment of its start.
os.environ |= {
    # The threads of small models wait for each other on cores that another group of tests uses too.
    "OMP_NUM_THREADS": "1",
    # No test may find a real account.
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


# Test modules import torch, DeepSpeed and open_clip: much for the collector, and no garbage.
gc.disable()


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)  # in the process that deals out tests, which collects none
def pytest_xdist_setupnodes():
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """The longest groups come first (see `support.groups`)."""
    items.sort(key=lambda item: place_of(item.nodeid))


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist; only `make test` runs several processes
def pytest_xdist_make_scheduler(config, log):
    from support.schedule import ByGroup

    return ByGroup(config, log)


def pytest_addoption(parser):
    parser.addoption(
        "--answers", help="file for what Prometheus answered to the dashboards' queries"
    )
