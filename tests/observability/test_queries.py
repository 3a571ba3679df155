"""What panels and marks show of runs that promtool makes up: two starts, a worker that died."""

import re
import shutil
import subprocess

import pytest
import yaml

from monitoring.generate.files import BOARDS
from monitoring.generate.marks import MARKS
from monitoring.generate.promql import RUN, RUNS, last, where

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool: apt install prometheus"
)
OLD, NEW = 'start="60"', 'start="600"'
# A fixed port and an embedded Ray: nothing but the start tells the two apart.
PLACE = 'run="r",instance="host:9464",ray_job_id="01000000",node="a"'
STARTED = "dist_erase_run_start_timestamp_seconds"
TWO_STARTS = {
    f'{STARTED}{{{PLACE},role="exporter",rank="0",{OLD}}}': "_ 60+0x7 stale",
    f'{STARTED}{{{PLACE},role="exporter",rank="0",{NEW}}}': "_x10 600+0x10",
    f'dist_erase_step{{{PLACE},role="student",rank="0",{OLD}}}': "_ 90+1x7 stale",
    f'dist_erase_step{{{PLACE},role="student",rank="1",{OLD}}}': "_ 90+1x7 stale",
    f'dist_erase_step{{{PLACE},role="student",rank="0",{NEW}}}': "_x10 0+1x10",
    f'dist_erase_run_exit_code{{{PLACE},role="driver",rank="0",{OLD}}}': "_x7 75 stale",
    f'dist_erase_worker_restarts_total{{{PLACE},role="student",rank="0",{OLD}}}': "_ 1+0x7 stale",
    f'dist_erase_worker_restarts_total{{{PLACE},role="student",rank="0",{NEW}}}': "_x10 2+0x10",
    f'{STARTED}{{run="other",role="exporter",rank="0",start="1"}}': "1+0x5 stale",
    'dist_erase_step{run="other",role="student",rank="0",start="1"}': "70+0x5 stale",
}
FILLED = {"run": "r", "__range": "30m", "__rate_interval": "150s", "rank": ".*", "node": ".*"}


def fails(tmp_path, expr, at, expected, series, interval="1m"):
    """What promtool says against `expr` having the values `expected` at a time; "" = nothing."""
    test = {
        "evaluation_interval": interval,
        "tests": [
            {
                "interval": interval,
                "input_series": [{"series": k, "values": v} for k, v in series.items()],
                "promql_expr_test": [
                    {
                        "expr": re.sub(r"\$(\w+)", lambda found: FILLED[found[1]], expr),
                        "eval_time": at,
                        "exp_samples": [{"labels": k, "value": v} for k, v in expected.items()],
                    }
                ],
            }
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump(test))
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def panel(board, title):
    (found,) = (p for p in BOARDS[board].panels if p.title == title)
    return found.queries[0].expr


@pytest.mark.parametrize(
    ("expr", "at", "expected"),
    [
        (f"max({last('step')})", "20m", {"{}": 10}),
        (f"max({last('step')})", "8m", {"{}": 97}),
        (f"count({last('step')})", "20m", {"{}": 1}),
        (f"max({last('run_exit_code')}) or vector(-1)", "20m", {"{}": -1}),
        (f"max({last('run_exit_code')}) or vector(-1)", "9m", {"{}": 75}),
        (panel("unlearning", "How it ended"), "20m", {"{}": -1}),
        (panel("cluster", "Restarts of workers"), "20m", {"{}": 2}),
        (
            f"max by (run) ({last('step', where(RUNS, role='student'))})".replace(
                "$run", "r|other"
            ),
            "20m",
            {'{run="r"}': 10, '{run="other"}': 70},
        ),
    ],
)
def test_single_numbers_are_of_the_newest_start(tmp_path, expr, at, expected):
    assert fails(tmp_path, expr, at, expected, TWO_STARTS) == ""


def test_numbers_of_all_starts_would_be_found(tmp_path):
    expr = f"max(last_over_time(dist_erase_step{{{RUN}}}[$__range]))"
    assert "FAILED" in fails(tmp_path, expr, "20m", {"{}": 10}, TWO_STARTS)


WORKER = 'run="r",role="student",rank="0",node="a"'
# A checkpoint at minutes 5 and 10, a live evaluation at 3 and 10; the workers die and are started
# again at minute 14, from the checkpoint, and evaluate at 20.
RESTARTED = {
    f"dist_erase_checkpoint_seconds_count{{{WORKER}}}": "0+0x4 1+0x4 2+0x3 0+0x15",
    f"dist_erase_checkpoint_timestamp_seconds{{{WORKER}}}": "0+0x4 300+0x4 600+0x3 840+0x15",
    f"dist_erase_evaluations_total{{{WORKER}}}": "0+0x2 1+0x6 2+0x3 0+0x5 1+0x9",
    f"dist_erase_worker_attempt{{{WORKER}}}": "1+0x13 2+0x15",
}


def marked(name):
    (mark,) = (mark for mark in MARKS if mark.name == name)
    return mark.expr


@pytest.mark.parametrize(
    ("name", "minutes"),
    [("Checkpoints", (5, 10)), ("Evaluations", (3, 10, 20)), ("Restarts", (14,))],
)
def test_marks_stand_where_something_happened_and_nowhere_else(tmp_path, name, minutes):
    expr = marked(name)
    # Each is seen for as long as it looks back: two or three samples.
    looks_back = 3 if name == "Restarts" else 2
    count = f"count_over_time(({expr})[28m:1m])"
    assert fails(tmp_path, count, "28m", {"{}": looks_back * len(minutes)}, RESTARTED) == ""
    for minute in minutes:
        assert fails(tmp_path, f"({expr}) > bool 0", f"{minute}m", {"{}": 1}, RESTARTED) == ""
        assert fails(tmp_path, expr, f"{minute - 1}m", {}, RESTARTED) == ""


RANK_0 = 'run="r",role="student",rank="0"'


@pytest.mark.parametrize(
    "series",
    [
        pytest.param(
            {
                f'dist_erase_worker_attempt{{{RANK_0},start="60"}}': "1+0x8 stale",
                f'dist_erase_worker_attempt{{{RANK_0},start="600"}}': "_x14 2+0x15",
            },
            id="resumed",
        ),
        pytest.param(
            {
                f'dist_erase_worker_attempt{{{RANK_0},node="a"}}': "1+0x13 stale",
                f'dist_erase_worker_attempt{{{RANK_0},node="b"}}': "_x14 2+0x15",
            },
            id="on another node",
        ),
        pytest.param(
            {
                f'dist_erase_worker_attempt{{{RANK_0},node="a"}}': "1+0x28",
                f'dist_erase_worker_attempt{{{RANK_0},node="b"}}': "_x14 2+0x15",
            },
            id="on another node, its old one still tells",
        ),
        pytest.param(
            {f"dist_erase_worker_attempt{{{RANK_0}}}": "1+0x7 _x6 2+0x15"}, id="after a silence"
        ),
    ],
)
def test_a_restart_is_marked_whatever_labels_it_changes(tmp_path, series):
    expr = marked("Restarts")
    assert fails(tmp_path, f"count_over_time(({expr})[28m:1m])", "28m", {"{}": 3}, series) == ""
    assert fails(tmp_path, expr, "13m", {}, series) == ""
    assert fails(tmp_path, expr, "14m", {"{}": 2}, series) == ""


@pytest.mark.parametrize(
    "values",
    [
        pytest.param("_x5 1+0x25", id="first start"),
        pytest.param("2+0x5 _x12 2+0x15", id="not scraped for a while"),
    ],
)
def test_no_restart_is_marked_where_none_was(tmp_path, values):
    series = {f"dist_erase_worker_attempt{{{RANK_0}}}": values}
    # A restart before the first sample is marked at it.
    expr = f"count_over_time(({marked('Restarts')})[20m:1m])"
    assert fails(tmp_path, expr, "28m", {}, series) == ""


# A step each 40 s, scraped each 5 s; Grafana's rate interval is 20 s then.
SLOW = {
    f"dist_erase_{metric}": " ".join(str(each * (at // 8)) for at in range(240))
    for metric, each in {
        f'samples_total{{{WORKER},stream="retain"}}': 64,
        f"step_seconds_sum{{{WORKER}}}": 40,
        f"step_seconds_count{{{WORKER}}}": 1,
        f'phase_seconds_total{{{WORKER},phase="data_wait"}}': 4,
        f'phase_seconds_total{{{WORKER},phase="teacher_wait"}}': 8,
        f'phase_seconds_total{{{WORKER},phase="communication"}}': 4,
        f'phase_seconds_total{{{WORKER},phase="forward"}}': 24,
        f"data_worker_seconds_total{{{WORKER}}}": 40,
    }.items()
} | {
    f"{STARTED}{{{WORKER}}}": "0+0x240",
    f"dist_erase_data_workers{{{WORKER}}}": "2+0x240",
    # Steps to go stand still, so that only the time of a step is looked at.
    f"dist_erase_step{{{WORKER}}}": "29+0x240",
    f"dist_erase_steps_planned{{{WORKER}}}": "129+0x240",
}


@pytest.mark.parametrize(
    ("board", "title", "value"),
    [
        ("throughput", "Pairs per second", 1.6),
        ("throughput", "Mean step", 40),
        ("throughput", "Waiting for data", 0.1),
        ("throughput", "Waiting for the teacher", 0.2),
        ("throughput", "Exchanging with other ranks", 0.1),
        ("throughput", "Computing", 0.6),
        ("throughput", "Data workers busy", 0.5),
        ("unlearning", "Time left", 4000),
    ],
)
def test_single_numbers_are_there_while_steps_are_slower_than_the_rate_interval(
    tmp_path, board, title, value
):
    # Of 7.5 steps in five minutes whole ones are seen: seven or eight.
    expr = panel(board, title).replace("$__rate_interval", "20s")
    near = f"abs(({expr}) / {value} - 1) < bool 0.1"
    always = f"min_over_time(({near})[9m:5s])"
    assert fails(tmp_path, f"max({always})", "18m", {"{}": 1}, SLOW, interval="5s") == ""


@pytest.mark.parametrize("name", BOARDS)
def test_no_single_number_looks_back_for_a_rate_interval_only(name):
    single = [p for p in BOARDS[name].panels if p.kind in ("stat", "gauge", "bars", "table")]
    assert [p.title for p in single for q in p.queries if "__rate_interval" in q.expr] == []


PROCESS = f'{RANK_0},node="a"'


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ({f"dist_erase_checkpoint_failures_total{{{PROCESS}}}": "0+0x25"}, 0),
        # The process ends with the failure, and the next one begins at 0.
        ({f"dist_erase_checkpoint_failures_total{{{PROCESS}}}": "0+0x9 1 0+0x15"}, 1),
        ({f"dist_erase_checkpoint_failures_total{{{PROCESS}}}": "0+0x4 1 0+0x4 1 0+0x15"}, 2),
        (
            {
                f"dist_erase_checkpoint_failures_total{{{PROCESS},{OLD}}}": "0+0x4 1 stale",
                f"dist_erase_checkpoint_failures_total{{{PROCESS},{NEW}}}": "_x10 0+0x15",
            },
            1,
        ),
    ],
)
def test_failed_checkpoints_stay_in_sight(tmp_path, series, expected):
    starts = {OLD: "60+0x5 stale", NEW: "_x10 600+0x15"} if len(series) > 1 else {"": "0+0x25"}
    told = series | {f"{STARTED}{{{PROCESS},{start}}}": at for start, at in starts.items()}
    assert fails(tmp_path, panel("cluster", "Failures"), "25m", {"{}": expected}, told) == ""


READ = {
    f"{STARTED}{{{RANK_0}}}": "0+0x20",
    f'dist_erase_samples_total{{{RANK_0},stream="forget"}}': "0+100x20",
    f'dist_erase_samples_total{{{RANK_0},stream="retain"}}': "0+10000x20",
}
CORRUPT = f"dist_erase_corrupt_samples_total{{{RANK_0},stream="


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ({}, 0),
        ({f'{CORRUPT}"forget",reason="image"}}': "0+1x20"}, 0.01),
        ({f'{CORRUPT}"retain",reason="overlap"}}': "0+500x20"}, 0),
    ],
)
def test_unusable_samples_are_those_of_the_worse_set_without_overlap(tmp_path, series, expected):
    expr = panel("cluster", "Unusable samples")
    assert fails(tmp_path, expr, "20m", {"{}": expected}, READ | series) == ""
