import pytest

from dist_erase.observability.emit import Metrics
from dist_erase.observability.metrics import COSINE_BUCKETS
from dist_erase.observability.snapshot import to_text


def student() -> Metrics:
    return Metrics(run="seven", role="student", rank=1, node="host-a")


def values(metrics: Metrics) -> dict[str, float]:
    """Series without the common labels → value."""
    common = 'node="host-a",rank="1",role="student",run="seven"'
    lines = [x for x in to_text(metrics.registry.collect()).splitlines() if not x.startswith("#")]
    assert all(part in line for line in lines for part in common.split(","))
    found = {}
    for line in lines:
        series, value = line.rsplit(" ", 1)
        for part in common.split(","):
            series = series.replace(part + ",", "").replace("," + part, "").replace(part, "")
        found[series.replace("{}", "")] = float(value)
    return found


def test_a_gauge_is_absent_until_it_is_set_so_that_no_loss_of_zero_is_ever_shown():
    metrics = student()
    assert "dist_erase_loss" not in str(values(metrics))
    metrics.loss.set(0.25, "forgetting")
    assert values(metrics)['dist_erase_loss{term="forgetting"}'] == 0.25
    assert 'dist_erase_loss{term="retention"}' not in values(metrics)


def test_counters_start_at_zero_where_they_belong_and_only_there():
    shown = values(student())
    assert shown['dist_erase_samples_total{stream="forget"}'] == 0
    assert shown["dist_erase_step_seconds_count"] == 0
    assert "dist_erase_teacher_replica_pairs_total" not in shown


def test_values_arrive():
    metrics = student()
    metrics.samples_total.inc(32, "retain")
    metrics.samples_total.inc(32, "retain")
    metrics.corrupt_samples_total.inc(1, "forget", "image")
    metrics.step_seconds.observe(0.3)
    shown = values(metrics)
    assert shown['dist_erase_samples_total{stream="retain"}'] == 64
    assert shown['dist_erase_corrupt_samples_total{reason="image",stream="forget"}'] == 1
    assert shown['dist_erase_step_seconds_bucket{le="0.25"}'] == 0
    assert shown['dist_erase_step_seconds_bucket{le="0.5"}'] == 1
    assert not [name for name in shown if "_created" in name]


def test_a_label_value_outside_the_closed_set_is_refused():
    with pytest.raises(ValueError, match="dist_erase_loss: term='forgeting' is none of retention"):
        student().loss.set(1.0, "forgeting")


def test_two_processes_worth_of_metrics_in_one_process_stay_apart():
    one, two = student(), student()
    one.step.set(7)
    assert "dist_erase_step" not in values(two)


def test_evaluation_results_become_series():
    metrics = student()
    metrics.evaluation(
        "after",
        {
            "zero_shot": {"forget": {"top1": 0.02, "top5": None}},
            "retrieval": {"retain": {"image_to_text": {"r1": 0.5}}},
            "tower_swap": {"new_image_old_text": {"forget": {"top1": 0.85}}},
        },
    )
    shown = {k: v for k, v in values(metrics).items() if "evaluation_ratio" in k}
    name = "dist_erase_evaluation_ratio"
    assert shown == {
        f'{name}{{measure="top1",phase="after",set="forget",task="zero_shot"}}': 0.02,
        f'{name}{{measure="image_to_text_r1",phase="after",set="retain",task="retrieval"}}': 0.5,
        f'{name}{{measure="new_image_old_text_top1",phase="after",set="forget",'
        'task="tower_swap"}': 0.85,
    }


def test_run_info_states_all_facts_once():
    metrics = student()
    facts = dict.fromkeys(
        (
            "version",
            "config_hash",
            "ray_job_id",
            "python",
            "torch",
            "deepspeed",
            "ray",
            "open_clip",
        ),
        "1",
    )
    metrics.run_info.set(**facts, world_size="2")
    metrics.run_info.set(**facts, world_size="1")
    info = [name for name in values(metrics) if "run_info" in name]
    assert len(info) == 1
    assert 'world_size="1"' in info[0]
    with pytest.raises(
        ValueError, match="needs exactly version, config_hash, world_size, ray_job_id"
    ):
        metrics.run_info.set(**facts)


def test_many_observations_at_once_are_as_one_by_one():
    one, many = student(), student()
    cosines = [-0.9, -0.8, 0.05, 0.31, 1.0, 1.00001]
    bounds = COSINE_BUCKETS
    counts = [0] * (len(bounds) + 1)
    for cosine in cosines:
        one.pair_similarity.observe(cosine, "forget")
        counts[sum(bound < cosine for bound in bounds)] += 1
    many.pair_similarity.add(counts, sum(cosines), "forget")
    shown = {k: v for k, v in values(one).items() if "pair_similarity" in k}
    assert shown == {k: v for k, v in values(many).items() if "pair_similarity" in k}
    name = "dist_erase_pair_similarity"
    assert shown[f'{name}_bucket{{le="-0.8",stream="forget"}}'] == 2
    assert shown[f'{name}_bucket{{le="1.0",stream="forget"}}'] == 5
    assert shown[f'{name}_bucket{{le="+Inf",stream="forget"}}'] == 6
    assert shown[f'{name}_count{{stream="forget"}}'] == 6
    assert f'{name}_sum{{stream="forget"}}' not in shown  # a sum that falls is no counter
    assert shown[f'{name}_count{{stream="retain"}}'] == 0
