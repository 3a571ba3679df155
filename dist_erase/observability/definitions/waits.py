"""What do the steps wait for, and how well is the hardware used?"""

from __future__ import annotations

from dist_erase.observability.definitions.alarms import (
    CORRUPT_SAMPLES,
    DATA_STARVATION,
    STRAGGLER,
)
from dist_erase.observability.definitions.kinds import (
    PHASE,
    STEP_BUCKETS,
    STREAM,
    Definition,
    Label,
)

_PACE = "How fast is it, and how much of the device is used?"
_WHERE = "Where does the time of a step go?"
_DATA = "Does reading and decoding keep up?"

WAITS = (
    Definition(
        name="dist_erase_samples_total",
        kind="counter",
        labels=(STREAM,),
        dashboard="throughput",
        question=_PACE,
        alerts=(CORRUPT_SAMPLES,),
        help="Pairs this rank has trained on since its process started.",
    ),
    Definition(
        name="dist_erase_model_flops_ratio",
        kind="gauge",
        unit="ratio",
        dashboard="throughput",
        question=_PACE,
        when="the device's peak is known (A100, H100, H200)",
        help="Model FLOPs utilisation of the last step of this rank: three forwards' FLOPs of its "
        "pairs by the step's wall time and the device's dense bf16 peak. Work done twice "
        "(accumulation) and the teacher do not count.",
    ),
    Definition(
        name="dist_erase_step_seconds",
        kind="histogram",
        unit="seconds",
        buckets=STEP_BUCKETS,
        dashboard="throughput",
        question="Are all steps and all ranks alike, or are there stragglers?",
        alerts=(STRAGGLER,),
        help="Wall time of one step of this rank, waits included.",
    ),
    Definition(
        name="dist_erase_phase_seconds_total",
        kind="counter",
        unit="seconds",
        labels=(PHASE,),
        dashboard="throughput",
        question=_WHERE,
        alerts=(DATA_STARVATION, STRAGGLER),
        help="Where the wall time of this rank went. communication: waiting in gathers, agreements "
        "and, at ZeRO stages 1 to 3, the reduction of gradients; what DeepSpeed exchanges inside "
        "forward, backward or optimizer counts as these.",
    ),
    Definition(
        name="dist_erase_read_bytes_total",
        kind="counter",
        unit="bytes",
        labels=(STREAM,),
        dashboard="throughput",
        question=_DATA,
        help="Bytes this rank has read from shards since its process started.",
    ),
    Definition(
        name="dist_erase_data_workers",
        kind="gauge",
        dashboard="throughput",
        question=_DATA,
        help="Processes that read and decode for this rank; 0 = the rank does it itself.",
    ),
    Definition(
        name="dist_erase_data_workers_limit",
        kind="gauge",
        dashboard="throughput",
        question=_DATA,
        help="The most data workers that this rank can use; any number in use divides it.",
    ),
    Definition(
        name="dist_erase_node_idle_cores",
        kind="gauge",
        dashboard="throughput",
        question=_DATA,
        help="Cores that this process may use and nobody used, over the last seconds; the same "
        "for all ranks of a node.",
    ),
    Definition(
        name="dist_erase_data_worker_seconds_total",
        kind="counter",
        unit="seconds",
        dashboard="throughput",
        question=_DATA,
        help="Time this rank's data workers spent making the batches trained on; divided by "
        "their number it says how busy they are.",
    ),
    Definition(
        name="dist_erase_data_worker_resident_memory_bytes",
        kind="gauge",
        unit="bytes",
        dashboard="cluster",
        question="How near is memory to its limit?",
        help="Memory that this rank's data workers hold, all of them together, when they made the "
        "last batch.",
    ),
    Definition(
        name="dist_erase_block_cache_queries_total",
        kind="counter",
        labels=(Label("layer", ("memory", "disk")),),
        dashboard="throughput",
        question="How much reading do the caches save?",
        help="Blocks of shards looked for in a cache by this rank's data workers: memory is asked "
        "for each sample, disk (data.block_cache) for each read of a remote shard.",
    ),
    Definition(
        name="dist_erase_block_cache_hits_total",
        kind="counter",
        labels=(Label("layer", ("memory", "disk")),),
        dashboard="throughput",
        question="How much reading do the caches save?",
        help="Those of dist_erase_block_cache_queries_total that were found.",
    ),
)
