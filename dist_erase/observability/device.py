"""Memory of the GPU that this process uses, and what it can compute at most."""

from __future__ import annotations

import re

import torch

from dist_erase.observability.emit import Metrics

# Dense bf16 FLOP/s by NVIDIA's data sheets, of the SXM boards. Slower boards of the same chips
# (PCIe, NVL) are left out: a ratio to a peak that the board does not have would be no ratio.
_PEAKS = (
    (re.compile(r"A100\b"), 312e12),
    (re.compile(r"H100\b(?!.*(PCIe|NVL))"), 989e12),
    (re.compile(r"H200\b(?!.*NVL)"), 989e12),
)


def record_device_memory(metrics: Metrics, device: torch.device) -> None:
    """Sets `device_memory_bytes`; nothing on a CPU. The peak is that since the last call."""
    if device.type != "cuda":
        return
    metrics.device_memory_bytes.set(torch.cuda.memory_allocated(device), "allocated")
    metrics.device_memory_bytes.set(torch.cuda.max_memory_allocated(device), "peak")
    torch.cuda.reset_peak_memory_stats(device)
    metrics.device_memory_bytes.set(torch.cuda.memory_reserved(device), "reserved")
    metrics.device_memory_bytes.set(torch.cuda.get_device_properties(device).total_memory, "limit")


def peak_flops(device: torch.device) -> float | None:
    """Dense bf16 FLOP/s of a device; None where it is not known."""
    return None if device.type != "cuda" else peak_of(torch.cuda.get_device_name(device))


def peak_of(name: str) -> float | None:
    """The same by the name that the driver gives, such as "NVIDIA H100 80GB HBM3"."""
    return next((peak for pattern, peak in _PEAKS if pattern.search(name)), None)
