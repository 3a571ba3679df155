"""Which errors only say that another rank is gone."""

from __future__ import annotations

# What torch.distributed's back ends say when a partner is gone or does not answer. Not every error
# of NCCL is one: a wrong use or a missing device fails again at each attempt.
_SIGNS = (
    "closed by peer",
    "reset by peer",
    "Timed out waiting",
    "Connection timed out",
    "Socket Timeout",
    "wait timeout after",
    "Broken pipe",
    "No route to host",
    "Network is unreachable",
    "pair closure",
    "ncclRemoteError",
    "ncclSystemError",
    "remote process exit",
    "NCCL communicator was aborted",
    "Watchdog caught collective operation timeout",
)


def says_contact_lost(error: Exception) -> bool:
    """Whether `error` is what gloo or NCCL raise where another rank or the network is gone."""
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)
