"""Every registered metric is told by a real run, with every event in it that has a metric."""

from __future__ import annotations

import json
import re
import socket
import urllib.request

import pytest
from support.runs import finish, kill_one, wait_for_step
from support.scraping import scrape_until_done

from dist_erase.observability.metrics import DEFINITIONS, GOALS, PHASES, TERMS
from dist_erase.observability.snapshot import from_text

pytestmark = pytest.mark.integration

GOALS_NEVER_MET = (
    "evaluate.every_steps=4",
    "stop.forget_top1_below=0.0",
    "stop.forget_recall_below=0.0",
    "stop.retain_drop_above=1.0",
)
# On a CPU there is none of them.
NEEDS_A_GPU = {"dist_erase_model_flops_ratio", "dist_erase_device_memory_bytes"}
# Clean shards have no bad sample; tests of the data plane count them.
NEEDS_DIRT = {"dist_erase_corrupt_samples_total"}
# What counts failures that did not happen stays at 0, and is there.
MAY_BE_ZERO = {
    "dist_erase_checkpoint_failures_total",
    "dist_erase_exporter_skipped_snapshots_total",
    "dist_erase_exporter_push_failures_total",
}


@pytest.fixture(scope="module")
def eventful(bench):
    """The families of a run in which a teacher and a worker were killed, after its last step."""
    folder = bench.folder("eventful")
    process = bench.start(
        "eventful", *GOALS_NEVER_MET, "observe.gradients_every=4", "observe.grace_seconds=20"
    )
    wait_for_step(folder, 2, process)
    kill_one("ray::TeacherReplica")
    wait_for_step(folder, 6, process)
    kill_one("ray::RayTrainWorker")
    scraped, output = scrape_until_done(process, folder)
    assert process.returncode == 3, output  # the goals were not met
    return {family.name: family for family in from_text(scraped)}


def samples(families, definition):
    # The parser takes `_total` off a counter's family.
    family = families.get(definition.name.removesuffix("_total")) or families.get(definition.name)
    return [] if family is None else family.samples


def test_every_registered_metric_is_told(eventful):
    absent = {d.name for d in DEFINITIONS if not samples(eventful, d)}
    assert absent == NEEDS_A_GPU | NEEDS_DIRT
    assert all(d.when for d in DEFINITIONS if d.name in absent)


def test_what_counts_has_counted(eventful):
    counting = [d for d in DEFINITIONS if d.kind in ("counter", "histogram")]
    zero = {d.name for d in counting if samples(eventful, d) and not total(eventful, d)}
    assert zero <= MAY_BE_ZERO


def total(families, definition):
    suffix = "_count" if definition.kind == "histogram" else ""
    name = definition.name + suffix
    return sum(s.value for s in samples(families, definition) if s.name == name)


def test_nothing_is_told_that_is_not_registered(eventful):
    registered = {d.name for d in DEFINITIONS}
    told = {
        re.sub(r"_(bucket|count|sum)$", "", sample.name)
        if family.type == "histogram"
        else sample.name
        for family in eventful.values()
        for sample in family.samples
    }
    assert told <= registered


def test_each_role_tells_what_its_metrics_say(eventful):
    for definition in DEFINITIONS:
        roles = {s.labels["role"] for s in samples(eventful, definition)}
        if definition.name == "dist_erase_evaluation_ratio":
            assert roles == {"driver", "student"}
        elif definition.name.endswith(("heartbeat_timestamp_seconds", "memory_bytes")):
            continue  # of several roles, as their help says
        else:
            assert roles <= {definition.role}, definition.name


def test_closed_sets_of_labels_are_all_told(eventful):
    told = {
        (d.name, label.name): {s.labels[label.name] for s in samples(eventful, d) if s.value}
        for d in DEFINITIONS
        for label in d.labels
    }
    assert told["dist_erase_phase_seconds_total", "phase"] == set(PHASES)
    assert told["dist_erase_term_gradient_norm", "term"] == set(TERMS)
    assert told["dist_erase_objective_weight", "term"] == set(TERMS)
    assert told["dist_erase_goal_distance_ratio", "goal"] == set(GOALS)


def test_one_port_a_node_and_no_files_in_the_run_folder(bench):
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    folder = bench.folder("per-node")
    process = bench.start(
        "per-node",
        "observe.per_node=true",
        "observe.bind=0.0.0.0",
        f"observe.port={port}",
        "train.max_steps=8",
    )
    wait_for_step(folder, 2, process)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/targets", timeout=10) as answer:
        [target] = json.load(answer)
    finish(process)
    for role in ("driver", "student", "teacher", "exporter"):
        assert f'role="{role}"' in text
    assert target["labels"]["ray_job_id"]
    assert not (folder / "metrics").exists()
