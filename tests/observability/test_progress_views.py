"""Plain lines, the live view, and which of them is taken."""

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
from rich.console import Console

from dist_erase.observability.console import Curve, RichProgress
from dist_erase.observability.lines import PlainProgress
from dist_erase.observability.rows import Recent, clock

BOTTLENECK = "60 % of the step waits for data; more data.workers would help"


def row(step, **changes):
    return {
        "step": step,
        "steps": 40,
        "time": 1000.0 + 2 * step,
        "loss": {"retention": 0.5, "forgetting": 1 / step, "total": 0.5 + 3 / step},
        "similarity": {"forget": 0.9, "retain": 0.3},
        "floor": 0.1,
        "lr": 1e-5,
        "grad_norm": 1.25,
        "seconds": {"step": 2.0, "data_wait": 1.2, "forward": 0.6},
        "samples_per_second": 64.0,
        "epoch": 0.5,
        "forget_passes": 2.0,
        "teacher": {"in_flight": 2, "resubmitted": 0},
        **changes,
    }


CHECKPOINT = {"event": "checkpoint", "step": 2, "time": 1004.0, "message": "checkpoints/step-2"}


def plain(rows, every_seconds=3600.0):
    stream = io.StringIO()
    progress = PlainProgress(stream, run="seven", every_seconds=every_seconds)
    progress.start()
    for one in rows:
        progress.row(one)
    progress.close()
    return [re.sub(r"^\d\d:\d\d:\d\d seven ", "", x) for x in stream.getvalue().splitlines()]


def rich_text(rows, width):
    console = Console(file=io.StringIO(), width=width, height=40, force_terminal=False)
    progress = RichProgress(console, run="seven")
    progress.start()
    for one in rows:
        progress.row(one)
    progress.close()
    return console.file.getvalue()


def test_plain_lines_are_the_first_step_each_event_and_the_last_step():
    lines = plain([row(1), row(2), CHECKPOINT, row(3), row(4)])
    assert lines == [
        "step 1/40 | loss 3.5 (retention 0.5, forgetting 1) | "
        f"cosine forget 0.900 retain 0.300 floor 0.100 | 64 samples/s | {BOTTLENECK}",
        "step 2 checkpoint: checkpoints/step-2",
        "step 4/40 | loss 1.25 (retention 0.5, forgetting 0.25) | "
        f"cosine forget 0.900 retain 0.300 floor 0.100 | 64 samples/s | ETA 1:12 | {BOTTLENECK}",
    ]
    assert all(line.isascii() for line in lines)


def test_plain_prints_each_step_when_its_time_has_come():
    assert len(plain([row(step) for step in range(1, 6)], every_seconds=0.0)) == 5


def test_what_a_run_does_not_have_is_left_out():
    bare = {"step": 3, "steps": 9, "time": 5.0, "loss": {"total": 0.5}}
    assert plain([bare]) == ["step 3/9 | loss 0.5"]
    assert "step 3/9" in rich_text([bare], 80)
    assert plain([]) == []


def test_a_reader_that_has_gone_does_not_stop_the_run():
    read, write = os.pipe()
    os.close(read)
    with open(write, "w", closefd=True) as stream:
        progress = PlainProgress(stream, run="seven", every_seconds=0.0)
        progress.row(row(1))
        progress.row(row(2))
        progress.close()
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # what it buffered goes here


def test_the_live_view_shows_every_figure():
    text = rich_text([row(1), row(2), row(3), CHECKPOINT, row(4)], 100)
    for expected in (
        "seven step 4/40",
        "ETA 1:12",
        "forgetting      0.25 █▃▂▁",
        "cosine forget 0.9000",
        "its floor   0.1000",
        "64 samples/s · epoch 0.50 · forget passes 2.0 · lr 1e-05 · gradient 1.25 · teacher queue",
        "step 2 s: data wait 60 %, forward 30 %",
        BOTTLENECK,
        "step 2 checkpoint: checkpoints/step-2",
    ):
        assert expected in text, text


@pytest.mark.parametrize("width", [20, 40, 60])
def test_the_live_view_fits_narrow_terminals(width):
    text = rich_text([row(1), row(2), CHECKPOINT], width)
    assert max(map(len, text.splitlines())) <= width
    assert "waits for data" in " ".join(text.split())


def test_a_curve_of_any_length_keeps_its_shape_in_bounded_memory():
    curve = Curve(limit=16)
    for value in range(100_000):
        curve.add(float(value))
    line = curve.sparkline(8)
    assert line == "▁▂▃▄▅▆▇█"
    assert len(curve._points) <= 16
    assert len(curve.sparkline(3)) == 3


def test_a_curve_marks_what_is_not_finite_and_survives_constants():
    curve = Curve()
    assert curve.sparkline(10) == ""
    for value in (1.0, math.nan, 1.0):
        curve.add(value)
    assert curve.sparkline(10) == "▁!▁"
    assert curve.sparkline(0) == ""


def test_eta_is_by_the_pace_since_the_last_restart():
    recent = Recent()
    recent.add(row(10, time=0.0))
    assert recent.eta_seconds() is None
    recent.add(row(20, time=1000.0))
    recent.add(row(11, time=2000.0))  # resumed from the checkpoint of step 10
    recent.add(row(13, time=2004.0))
    assert recent.eta_seconds() == pytest.approx(54.0)
    assert (clock(54.2), clock(3725), clock(None)) == ("0:54", "1:02:05", "-")


CHILD = """
import json, sys
from dist_erase.observability.progress import make_progress
progress = make_progress("auto", sys.stderr, run="seven")
progress.start()
for row in json.load(open(sys.argv[1])):
    progress.row(row)
print("a result")
progress.close()
"""


def in_terminal(tmp_path, columns, **environment):
    """What a terminal of `columns` gets on stderr, and what went to stdout, a pipe."""
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps([row(1), row(2), CHECKPOINT]))
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


@pytest.mark.parametrize(
    ("columns", "environment"),
    [(50, {}), (80, {"TERM": "dumb"}), (80, {"PYTHONIOENCODING": "latin-1"})],
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
