"""Plain lines, JSON lines, and which view is taken."""

import fcntl
import io
import json
import math
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from support.run_rows import CHECKPOINT, EVALUATION, row

from dist_erase.observability.curve import ASCII_BLOCKS, Curve
from dist_erase.observability.facts import Facts, Teacher
from dist_erase.observability.lines import PlainProgress
from dist_erase.observability.machine_lines import JsonProgress
from dist_erase.observability.rows import Recent, clock
from dist_erase.observability.state import RunState

BOTTLENECK = (
    "60 % of the step waits for data; more data.workers help if cores are idle, which is not "
    "known here"
)


def plain(rows, every_seconds=3600.0, past=()):
    stream = io.StringIO()
    progress = PlainProgress(stream, RunState("seven"), every_seconds=every_seconds)
    progress.start()
    progress.past(past)
    for one in rows:
        progress.row(one)
    progress.close()
    return [re.sub(r"^\d\d:\d\d:\d\d seven ", "", x) for x in stream.getvalue().splitlines()]


def test_plain_lines_are_the_first_step_each_event_and_the_last_step():
    lines = plain([row(1), row(2), CHECKPOINT, *map(row, range(3, 8))])
    assert lines == [
        "step 1/40 | loss 3.5 (retention 0.5, forgetting 1) | "
        "cosine forget 0.900 retain 0.300 floor 0.100 | 64 samples/s",
        "step 2 checkpoint: checkpoints/step-2",
        "step 7/40 | loss 0.9286 (retention 0.5, forgetting 0.1429) | "
        "cosine forget 0.900 retain 0.300 floor 0.100 | 62 samples/s | ETA 1:06 | "
        + BOTTLENECK.replace("60 %", "58 %"),
    ]
    assert all(line.isascii() for line in lines)


@pytest.mark.parametrize("event", ["export", "failure", "interrupted", "stop"])
def test_the_last_step_stands_above_what_ends_an_attempt(event):
    lines = plain([row(1), row(2), {"event": event, "time": 0.0, "message": "so"}, row(3)])
    assert [line.partition(" |")[0] for line in lines] == [
        "step 1/40",
        "step 2/40",
        f"{event}: so",
        "step 3/40",
    ]


def test_plain_prints_each_step_when_its_time_has_come():
    assert len(plain([row(step) for step in range(1, 6)], every_seconds=0.0)) == 5


def test_what_happened_before_the_view_is_one_line():
    lines = plain([row(4)], past=[row(1), row(2), CHECKPOINT, EVALUATION, row(3)])
    assert [line.partition(" |")[0] for line in lines] == ["step 3/40", "step 4/40"]
    assert "found forget 12.0% retain 98.0%" in lines[0]


def test_what_a_run_does_not_have_is_left_out():
    bare = {"step": 3, "steps": 9, "time": 5.0, "loss": {"total": 0.5}}
    assert plain([bare]) == ["step 3/9 | loss 0.5"]
    assert plain([]) == []


def test_characters_that_a_log_cannot_hold_become_escapes():
    log = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    PlainProgress(log, RunState("seven")).row({"event": "export", "time": 0.0, "message": "dé"})
    assert log.buffer.getvalue().endswith(b"seven export: d\\xe9\n")


def test_a_reader_that_has_gone_does_not_stop_the_run():
    read, write = os.pipe()
    os.close(read)
    with open(write, "w", closefd=True) as stream:
        progress = PlainProgress(stream, RunState("seven"), every_seconds=0.0)
        assert not progress.unread
        progress.row(row(1))
        progress.row(row(2))
        progress.close()
        assert progress.unread
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # what it buffered goes here


def test_a_silent_run_is_told_once_in_plain_lines():
    stream = io.StringIO()
    progress = PlainProgress(stream, RunState("seven"))
    for text in (None, "no answer since 12:00:00", "no answer since 12:00:01", None):
        progress.silence(text)
    assert [line.partition("seven ")[2] for line in stream.getvalue().splitlines()] == [
        "no answer since 12:00:00",
        "answers again",
    ]


STATE_KEYS = (
    "kind run time step steps attempt eta_seconds loss cosine floor found samples_per_second "
    "seconds_per_step shares epoch forget_passes lr grad_norm teacher corrupt_samples "
    "checkpoint_step steps_to_goal idle_cores bottleneck"
)


def machine(*, past=(), rows=(), facts=None):
    stream = io.StringIO()
    progress = JsonProgress(stream, RunState("seven", {"forget_top1_below": 0.05}))
    if facts is not None:
        progress.look(facts)
    progress.past(past)
    for one in rows:
        progress.row(one)
    progress.silence("no answer since 12:00:00")
    progress.end(75, "interrupted")
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_keep_their_keys():
    pool = Teacher(up={"0": True, "1": False}, in_flight=3, restarts=1, resubmitted=2)
    lines = machine(past=[row(1), EVALUATION], rows=[row(2), CHECKPOINT], facts=Facts(teacher=pool))
    assert [line["kind"] for line in lines] == ["state", "state", "event", "silence", "end"]
    assert list(lines[0]) == list(lines[1]) == STATE_KEYS.split()
    assert list(lines[2]) == ["kind", "run", "time", "event", "step", "message"]
    assert list(lines[3]) == ["kind", "run", "time", "message"]
    assert list(lines[4]) == ["kind", "run", "time", "exit_code", "message"]
    assert {line["run"] for line in lines} == {"seven"}
    assert lines[1]["found"] == {
        "forget": {"top1": {"now": 0.12, "before": None, "goal": 0.05, "met": False}},
        "retain": {"top1": {"now": 0.98, "before": None, "goal": None, "met": None}},
    }
    assert lines[1]["teacher"] == {
        "replicas": 2,
        "up": 1,
        "in_flight": 3,
        "restarts": 1,
        "resubmitted": 2,
        "failed": 0,
    }
    assert lines[1]["loss"] == {"retention": 0.5, "forgetting": 0.5, "total": 2.0}
    assert lines[4]["exit_code"] == 75


def test_json_is_valid_where_figures_are_not_finite():
    lines = machine(rows=[row(1, loss={"total": math.nan}, grad_norm=math.inf)])
    assert lines[0]["loss"] == {"total": None}
    assert lines[0]["grad_norm"] is None


def test_a_curve_of_any_length_keeps_its_shape_in_bounded_memory():
    curve = Curve(limit=16)
    for value in range(100_000):
        curve.add(float(value))
    assert curve.sparkline(8) == "▁▂▃▄▅▆▇█"
    assert curve.sparkline(8, ASCII_BLOCKS) == "_.-=+*%#"
    assert len(curve._points) <= 16
    assert len(curve.sparkline(3)) == 3


def test_a_curve_marks_what_is_not_finite_and_survives_constants():
    curve = Curve()
    assert curve.sparkline(10) == ""
    for value in (1.0, math.nan, 1.0):
        curve.add(value)
    assert curve.sparkline(10) == "▁!▁"
    assert curve.sparkline(0) == ""


def test_whoever_begins_to_watch_is_soon_told_of_recent_steps_alone():
    recent = Recent()
    for step, covers, seconds in ((9_000, 9_000, 0.1), (9_010, 10, 5.0), (9_020, 10, 5.0)):
        recent.add({"step": step, "covers": covers, "time": 0.0, "seconds": {"step": seconds}})
    assert recent.mean_seconds == 5.0


def test_eta_is_by_the_pace_since_the_last_restart():
    recent = Recent()
    recent.add(row(10, time=0.0))
    assert recent.eta_seconds() is None
    recent.add(row(20, time=1000.0))
    recent.add(row(11, time=2000.0))  # resumed from the checkpoint of step 10
    recent.add(row(13, time=2004.0))
    assert recent.eta_seconds() == pytest.approx(54.0)
    assert (clock(54.2), clock(3725), clock(None)) == ("0:54", "1:02:05", "-")


def test_hours_between_two_attempts_are_no_pace():
    recent = Recent()
    for step, time in ((10, 0.0), (11, 1.0)):
        recent.add(row(step, time=time) | {"attempt": 1})
    for step, time in ((12, 7200.0), (13, 7202.0)):  # stopped with a checkpoint, resumed later
        recent.add(row(step, time=time) | {"attempt": 2})
    assert recent.eta_seconds() == pytest.approx(2.0 * (40 - 13))


def test_speed_counts_pauses_between_steps():
    recent = Recent()
    recent.add(row(1, samples=128))
    recent.add(row(2, samples=128))
    assert recent.samples_per_second == pytest.approx(64.0)
    recent.pause("checkpoint", 4.0)
    assert recent.samples_per_second == pytest.approx(32.0)
    assert recent.mean_seconds == pytest.approx(4.0)


CHILD = """
import json, sys
from dist_erase.observability.progress import make_progress
from dist_erase.observability.state import RunState
progress = make_progress("auto", sys.stderr, RunState("seven", {"forget_top1_below": 0.05}))
progress.start()
for row in json.load(open(sys.argv[1])):
    progress.row(row)
print("a result")
progress.close()
"""


def in_terminal(tmp_path, columns, **environment):
    """What a terminal of `columns` gets on stderr, and what went to stdout, a pipe."""
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps([row(1), row(2), EVALUATION]))
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    clean = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR", "CI")}
    result = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(rows)],
        stdin=slave,
        stderr=slave,
        stdout=subprocess.PIPE,
        env={**clean, "TERM": "xterm-256color", **environment},
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            shown += os.read(master, 65536)
        except OSError:  # Linux' way to say that the other side is closed
            break
    os.close(master)
    stdout = result.communicate(timeout=20)[0].decode()
    assert result.returncode == 0, shown.decode()
    return shown.decode(), stdout


def test_a_wide_terminal_gets_the_live_view_and_stdout_keeps_the_results(tmp_path):
    shown, stdout = in_terminal(tmp_path, 80)
    assert "█" in shown
    assert re.search(r"\x1b\[[0-9;]*3[0-9]m", shown)  # a colour
    assert stdout == "a result\n"


def test_no_color_is_heard(tmp_path):
    shown, _ = in_terminal(tmp_path, 80, NO_COLOR="1")
    assert "█" in shown
    assert not re.search(r"\x1b\[[0-9;]*(3|4|9)[0-9]m|\x1b\[[0-9;]*(38|48);", shown)


def test_a_terminal_without_unicode_gets_the_live_view_in_ascii(tmp_path):
    shown, _ = in_terminal(tmp_path, 80, PYTHONIOENCODING="latin-1")
    assert "\x1b[" in shown
    assert "##" in shown
    assert shown.isascii()


@pytest.mark.parametrize(
    ("columns", "environment"),
    [(50, {}), (80, {"TERM": "dumb"})],
)
def test_a_terminal_that_cannot_show_it_gets_plain_lines(tmp_path, columns, environment):
    shown, _ = in_terminal(tmp_path, columns, **environment)
    assert "\x1b[" not in shown
    assert "step 2/40 | loss 2" in shown


def test_a_pipe_gets_plain_lines_whatever_ci_says_of_colours(tmp_path):
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps([row(1)]))
    result = subprocess.run(
        [sys.executable, "-c", CHILD, str(rows)],
        capture_output=True,
        text=True,
        env={**os.environ, "FORCE_COLOR": "1"},
    )
    assert "seven step 1/40 | loss 3.5" in result.stderr
    assert "\x1b[" not in result.stderr
