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


@pytest.mark.parametrize(
    ("name", "minutes"),
    [("Checkpoints", (5, 10)), ("Evaluations", (3, 10, 20)), ("Restarts", (14,))],
)
def test_marks_stand_where_something_happened_and_nowhere_else(tmp_path, name, minutes):
    (mark,) = (mark for mark in MARKS if mark.name == name)
    # Rates look back over three samples, so that each event is positive at two of them.
    expr = f"count_over_time(({mark.expr})[28m:1m])"
    assert fails(tmp_path, expr, "28m", {"{}": 2 * len(minutes)}, RESTARTED) == ""
    for minute in minutes:
        assert fails(tmp_path, f"({mark.expr}) > bool 0", f"{minute}m", {"{}": 1}, RESTARTED) == ""
        assert fails(tmp_path, mark.expr, f"{minute - 1}m", {}, RESTARTED) == ""
