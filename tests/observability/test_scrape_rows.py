"""Rows and facts from metrics: what a run says at its address is what its folder says."""

import pytest
from support.scraped import RunMetrics

from dist_erase.observability.facts import (
    Facts,
    Teacher,
    facts_of,
    measuring_changes,
    pool_changes,
)
from dist_erase.observability.scrape import read_folder
from dist_erase.observability.scrape_rows import ScrapeRows, run_changes


@pytest.fixture
def run(tmp_path):
    return RunMetrics(tmp_path / "metrics")


def test_steps_between_two_looks_become_one_row_of_their_means(run):
    rows = ScrapeRows()
    for step in (1, 2, 3):
        run.step(step, seconds=1.0, data_wait=0.25)
    first = rows.row(run.scrape(), time=10.0)
    assert (first["step"], first["steps"]) == (3, 40)
    assert first["covers"] == 3
    assert first["seconds"]["data_wait"] == pytest.approx(0.25)
    for step in (4, 5):
        run.step(step, seconds=2.0, data_wait=1.5)
    run.checkpoint(5, seconds=3.0)
    second = rows.row(run.scrape(), time=14.0)
    assert (second["covers"], second["step"], second["time"]) == (2, 5, 14.0)
    assert second["seconds"]["data_wait"] == pytest.approx(1.5)
    assert second["seconds"]["step"] == pytest.approx(2.0 + 3.0 / 2)
    assert second["seconds"]["checkpoint"] == pytest.approx(1.5)
    assert second["samples"] == pytest.approx(2 * 64)  # of both ranks
    assert second["loss"] == {"total": 0.2, "forgetting": 0.1}
    assert second["similarity"] == {"forget": 0.5, "retain": 0.7}
    assert second["floor"] == pytest.approx(0.1)
    assert second["teacher"] == {"in_flight": 2, "resubmitted": 0}


def test_a_look_without_a_new_step_gives_no_row(run):
    rows = ScrapeRows()
    assert rows.row(run.scrape(), time=9.0) is None
    run.step(1)
    assert rows.row(run.scrape(), time=10.0) is not None
    assert rows.row(run.scrape(), time=11.0) is None


def test_counters_that_began_anew_are_not_differences(run):
    rows = ScrapeRows()
    for step in range(1, 9):
        run.step(step, seconds=1.0)
    rows.row(run.scrape(), time=10.0)
    run.restart(attempt=2)
    run.step(7, seconds=4.0)
    row = rows.row(run.scrape(), time=20.0)
    assert (row["step"], row["covers"], row["attempt"]) == (7, 1, 2)
    assert row["seconds"]["step"] == pytest.approx(4.0)


def test_facts_are_read_from_all_processes(run):
    run.step(1, data_wait=0.25)
    run.replicas(True, False)
    run.evaluation("before", forget=1.0, retain=0.98)
    run.evaluation("live", forget=0.3, retain=0.97)
    facts = run.facts()
    assert facts.run == "seven"
    assert (facts.world, facts.attempt) == (2, 1)
    assert facts.teacher == Teacher(up={"0": True, "1": False}, in_flight=4)
    assert facts.before["forget"] == {"top1": 1.0, "recall1": 0.5}
    assert facts.live["retain"]["top1"] == 0.97
    assert (facts.data_workers, facts.data_workers_limit) == (2, 16)
    assert facts.idle_cores == pytest.approx(2.5)  # 5 idle cores, 2 ranks on that node
    assert facts.data_wait["1"] == pytest.approx(0.25)
    assert facts.exit_code is None
    run.end(75)
    assert run.facts().exit_code == 75


def test_the_goals_that_metrics_tell_are_used_and_not_required(run):
    run.step(1)
    assert run.facts().goals == {}
    run.driver.goal_ratio.set(0.05, "forget_top1_below")
    run.students[0].goal_projected_steps.set(float("inf"), "forget_top1_below")
    run.replicas(True)
    run.driver.teacher_replica_restarts_total.inc(3, "0")
    run.students[1].data_worker_seconds_total.inc(12.5)
    run.write()
    facts = facts_of(run.scrape())
    assert facts.goals == {"forget_top1_below": 0.05}
    assert facts.steps_to_goal == {"forget_top1_below": float("inf")}
    assert facts.teacher.restarts == 3
    assert facts.worker_seconds == {"0": 0.0, "1": 12.5}


def test_broken_snapshots_cost_their_own_values_only(run, tmp_path):
    run.step(1)
    (tmp_path / "metrics" / "student-9-9.prom").write_text("dist_erase_step{run=")
    assert read_folder(tmp_path / "metrics").value("step", rank="0") == 1
    assert read_folder(tmp_path / "nowhere").runs == []


def test_what_changes_between_looks_is_told_as_events():
    up, down = Teacher(up={"0": True, "1": True}), Teacher(up={"0": True, "1": False})
    assert [e["message"] for e in pool_changes(up, down, 1.0)] == ["replica 1 is down"]
    again = Teacher(up={"0": True, "1": True}, resubmitted=3)
    assert [e["message"] for e in pool_changes(down, again, 1.0)] == [
        "replica 1 answers again",
        "batches resubmitted: 3",
    ]
    assert pool_changes(None, up, 1.0) == []
    begun, same, tenth = (Facts(measured=(n, 1000)) for n in (0, 99, 100))
    assert [e["message"] for e in measuring_changes(Facts(), begun, 1.0)] == [
        "0 of 1,000 held-out pairs embedded"
    ]
    assert measuring_changes(begun, same, 1.0) == []
    assert [e["message"] for e in measuring_changes(same, tenth, 1.0)] == [
        "100 of 1,000 held-out pairs embedded"
    ]
    assert measuring_changes(tenth, Facts(), 1.0) == []
    live = {"forget": {"recall1": 0.25}, "retain": {"recall1": 0.75}}
    events = run_changes(
        Facts(attempt=1, checkpoint_step=10), Facts(attempt=2, checkpoint_step=20, live=live), 21, 1
    )
    assert [(e["event"], e["step"]) for e in events] == [
        ("start", 21),
        ("checkpoint", 20),
        ("evaluation", 21),
    ]
    assert events[2]["message"] == "forget pairs found 25.0%, retain pairs found 75.0%"
    assert events[2]["figures"] == live


def test_samples_that_are_replaced_by_design_are_not_corrupt(run):
    for reason, count in (("image", 2), ("overlap", 5), ("caption", 1)):
        run.students[0].corrupt_samples_total.inc(count, "retain", reason)
    run.write()
    assert run.facts().corrupt == 3
