import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """As on the ranks; on a busy machine the threads of small models wait for each other."""
    torch.set_num_threads(1)
