"""Memory of the GPU, as PyTorch itself counts it."""

import torch

from dist_erase.observability.device import record_device_memory
from dist_erase.observability.emit import Metrics

MIB = 2**20


def recorded(device):
    metrics = Metrics(run="r", role="student", rank=0)
    record_device_memory(metrics, torch.device(device))
    return {
        sample.labels["kind"]: sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "dist_erase_device_memory_bytes"
    }


def test_a_cpu_has_no_device_memory():
    assert recorded("cpu") == {}


if torch.cuda.is_available():  # not a skip: CI, which has none, refuses those

    def test_the_peak_is_that_of_the_last_step():
        before = recorded("cuda")["allocated"]
        step = torch.empty(64 * MIB, dtype=torch.uint8, device="cuda")
        del step
        after = recorded("cuda")
        assert after["allocated"] == before
        assert after["peak"] >= before + 64 * MIB
        assert after["peak"] <= after["reserved"] <= after["limit"]
        assert recorded("cuda")["peak"] == before
