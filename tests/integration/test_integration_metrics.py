"""Every registered metric is told by a real run, with every event in it that has a metric.

What is told is what a real Prometheus has collected of the run.
"""

import re

import pytest
from support.prometheus import INSTALLED

from dist_erase.observability.metrics import DEFINITIONS, GOALS, PHASES, TERMS
from monitoring.generate.conditions import RECORDED

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not INSTALLED, reason="no prometheus: apt install prometheus"),
]
# On a CPU there is none of them.
NEEDS_A_GPU = {"dist_erase_model_flops_ratio", "dist_erase_device_memory_bytes"}
# Clean shards have no bad sample; tests of the data plane count them.
NEEDS_DIRT = {"dist_erase_corrupt_samples_total"}
# What counts failures that did not happen stays at 0, and is there.
MAY_BE_ZERO = {
    "dist_erase_checkpoint_failures_total",
    "dist_erase_not_finite_steps_total",
    "dist_erase_exporter_skipped_snapshots_total",
    "dist_erase_exporter_push_failures_total",
}


@pytest.fixture(scope="module")
def told(watching, killed):
    """Name of a metric → (labels, highest value) of each of its series; histograms: the count."""
    assert killed.name == "killed"
    found = {}
    for definition in DEFINITIONS:
        series = definition.name + ("_count" if definition.kind == "histogram" else "")
        answer = watching.instant(f'max_over_time({series}{{run="killed"}}[1h])')
        found[definition.name] = [(one["metric"], float(one["value"][1])) for one in answer]
    return found


def test_every_registered_metric_is_told(told):
    absent = {d.name for d in DEFINITIONS if not told[d.name]}
    assert absent == NEEDS_A_GPU | NEEDS_DIRT
    assert all(d.when for d in DEFINITIONS if d.name in absent)


def test_what_counts_has_counted(told):
    counting = [d.name for d in DEFINITIONS if d.kind in ("counter", "histogram")]
    zero = {name for name in counting if told[name] and not any(n for _, n in told[name])}
    assert zero <= MAY_BE_ZERO


def test_nothing_is_told_that_is_not_registered(watching, told):
    registered = {d.name for d in DEFINITIONS}
    histograms = {d.name for d in DEFINITIONS if d.kind == "histogram"}
    for name in watching.get("label/__name__/values", **{"match[]": '{run="killed"}'}):
        if name not in RECORDED and not name.startswith("ALERTS"):
            base = re.sub(r"_(bucket|count|sum)$", "", name)
            assert name in registered or base in histograms


def test_each_role_tells_what_its_metrics_say(told):
    for definition in DEFINITIONS:
        roles = {labels["role"] for labels, _ in told[definition.name]}
        if definition.name == "dist_erase_evaluation_ratio":
            assert roles == {"driver", "student"}
        elif definition.name.endswith(("heartbeat_timestamp_seconds", "memory_bytes")):
            continue  # of several roles, as their help says
        else:
            assert roles <= {definition.role}, definition.name


def test_closed_sets_of_labels_are_all_told(told):
    values = {
        (d.name, label.name): {labels[label.name] for labels, value in told[d.name] if value}
        for d in DEFINITIONS
        for label in d.labels
    }
    assert values["dist_erase_phase_seconds_total", "phase"] == set(PHASES)
    assert values["dist_erase_term_gradient_norm", "term"] == set(TERMS)
    assert values["dist_erase_objective_weight", "term"] == set(TERMS)
    assert values["dist_erase_goal_distance_ratio", "goal"] == set(GOALS)
