"""Rows of the board "Cluster and reliability": memory, versions, GPUs."""

from __future__ import annotations

from monitoring.generate.promql import PLACED, RUN, last
from monitoring.generate.promql import selector as of
from monitoring.generate.records import Panel, Query, Row

_GPU = "only on GPUs"
_DCGM = "only where NVIDIA's DCGM exporter is scraped"
_ON_NODE = '{Hostname=~"$node"}'
_FACTS = (
    *("run", "config_hash", "world_size", "ray_job_id"),
    *("version", "python", "torch", "deepspeed", "ray", "open_clip"),
)

MEMORY = Row(
    title="Memory",
    collapsed=True,
    panels=(
        Panel(
            title="Memory of each process",
            about="Resident memory. Bad: a line that climbs without end.",
            kind="lines",
            queries=(
                Query(
                    expr=of("resident_memory_bytes", PLACED),
                    legend="{{role}} {{rank}}",
                ),
                Query(
                    expr=of("data_worker_resident_memory_bytes", PLACED),
                    legend="data workers of {{rank}}",
                ),
            ),
            unit="bytes",
            low=0,
        ),
        Panel(
            title="Memory of each node",
            about="In use, and all that the machine or container has.",
            kind="lines",
            queries=(
                Query(
                    expr=f"max by (node, kind) ({of('host_memory_bytes', PLACED)})",
                    legend="{{node}} {{kind}}",
                ),
            ),
            unit="bytes",
            low=0,
        ),
        Panel(
            title="Memory of each device",
            about="GPU memory by kind; peak is the most that tensors held within a step. Bad: peak "
            "close to limit. Reserved close to it is usual: PyTorch keeps what was freed.",
            kind="lines",
            queries=(
                Query(
                    expr=f"max by (rank, kind) ({of('device_memory_bytes', PLACED)})",
                    legend="rank {{rank}} {{kind}}",
                    may_be_empty=_GPU,
                ),
            ),
            unit="bytes",
            low=0,
        ),
    ),
)

WHAT_RUNS = Row(
    title="What runs",
    collapsed=True,
    panels=(
        Panel(
            title="Versions",
            about="Facts of the run, as in its report. Compare the configuration's hash.",
            kind="table",
            queries=(Query(expr=f"max by ({', '.join(_FACTS)}) ({last('run_info')})"),),
            width=18,
            height=5,
            labels=_FACTS,
        ),
        Panel(
            title="The metrics themselves",
            about="Metric files that a scrape left out, and pushes that failed. A few around a "
            "kill are harmless; bad: a steady rise.",
            kind="lines",
            queries=(
                Query(
                    expr=f"sum({of('exporter_skipped_snapshots_total', RUN)})", legend="left out"
                ),
                Query(expr=f"sum({of('exporter_push_failures_total', RUN)})", legend="push failed"),
            ),
            width=6,
            height=5,
            low=0,
        ),
    ),
)

DEVICES = Row(
    title="GPUs, by NVIDIA's DCGM exporter",
    collapsed=True,
    panels=(
        Panel(
            title="Tensor cores busy",
            about="Share of cycles in which the tensor pipe works: the hardware's view of "
            "FLOPs utilisation.",
            kind="lines",
            queries=(
                Query(
                    expr=f"avg by (Hostname, gpu) (DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{_ON_NODE})",
                    legend="{{Hostname}} {{gpu}}",
                    may_be_empty=_DCGM,
                ),
            ),
            unit="percentunit",
            low=0,
            high=1,
        ),
        Panel(
            title="GPU memory",
            about="In use, of the whole device, other programs included.",
            kind="lines",
            queries=(
                Query(
                    expr=f"max by (Hostname, gpu) (DCGM_FI_DEV_FB_USED{_ON_NODE}) * 1048576",
                    legend="{{Hostname}} {{gpu}}",
                    may_be_empty=_DCGM,
                ),
            ),
            unit="bytes",
            low=0,
        ),
        Panel(
            title="Power",
            about="Watts. A busy GPU near its limit is as it should be.",
            kind="lines",
            queries=(
                Query(
                    expr=f"max by (Hostname, gpu) (DCGM_FI_DEV_POWER_USAGE{_ON_NODE})",
                    legend="{{Hostname}} {{gpu}}",
                    may_be_empty=_DCGM,
                ),
            ),
            unit="watt",
            low=0,
        ),
    ),
)
