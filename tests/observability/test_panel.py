"""What the live view shows, as a terminal of each size gets it."""

import io
from pathlib import Path

import pytest
from rich.console import Console, Group
from support.run_rows import CHECKPOINT, EVALUATION, row

from dist_erase.observability.console import RichProgress
from dist_erase.observability.facts import Facts, Teacher
from dist_erase.observability.panel import Screen, panel
from dist_erase.observability.state import RunState

BEFORE = {"forget": {"top1": 1.0, "recall1": 0.6}, "retain": {"top1": 0.99, "recall1": 0.5}}
PANELS = Path(__file__).parent / "panels"  # what terminals of these columns get
GOALS = {"forget_top1_below": 0.05, "forget_recall_below": None, "retain_drop_above": 0.02}


def state(*, goals=GOALS, teacher=(True, True), **known):
    """A run at step 20 of 40, with live evaluations at steps 0, 2 and 10."""
    run = RunState("seven", goals)
    pool = Teacher(
        up={str(i): up for i, up in enumerate(teacher)}, in_flight=3, restarts=1, resubmitted=2
    )
    run.look(Facts(teacher=pool if teacher else None, world=2, **known))
    run.row({**EVALUATION, "step": 0, "figures": BEFORE})
    for step in range(1, 21):
        run.row(row(step, time=1000.0 + 2 * step, attempt=1))
        if step == 2:
            run.row(CHECKPOINT)
            run.row(EVALUATION)
        if step == 10:
            figures = {"forget": {"top1": 0.04, "recall1": 0.1}, "retain": {"top1": 0.96}}
            run.row({**EVALUATION, "step": 10, "message": "", "figures": figures})
    return run


def drawn(run, width, height=None, **options):
    console = Console(file=io.StringIO(), width=width, height=50, record=True, force_terminal=True)
    screen = Screen(width=width, height=height, **options)
    console.print(Group(*panel(run, screen)))
    lines = console.export_text().splitlines()
    return [line.rstrip() for line in lines]


def clockless(lines):
    """Without the times of day of events, which are local."""
    return [f"HH:MM:SS{line[8:]}" if line[2:3] == ":" else line for line in lines]


@pytest.mark.parametrize("name", ["120", "80", "60", "60-ascii"])
def test_the_whole_view(name):
    width = int(name.partition("-")[0])
    run = state(data_workers=1, data_workers_limit=8, idle_cores=4.0)
    lines = clockless(drawn(run, width, ascii=name.endswith("ascii")))
    assert "\n".join(lines) + "\n" == (PANELS / f"{name}.txt").read_text(encoding="utf-8")
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(
    ("height", "shown"),
    [
        (1, ["seven"]),
        (2, ["seven", "59 % of"]),
        (5, ["seven", "loss", "found", "        retain", "59 % of"]),
        (8, ["seven", "loss", "cosine", "found", "        retain", "speed", "59 % of", "which is"]),
    ],
)
def test_a_low_terminal_keeps_what_matters_most(height, shown):
    lines = drawn(state(), 80, height)
    assert len(lines) == len(shown)
    for line, begin in zip(lines, shown, strict=True):
        assert line.startswith(begin), lines


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_no_line_is_wider_than_the_terminal(width, ascii_only):
    run = state(teacher=(True, False))
    run.silence = "no answer since 12:00:00 (Connection refused), the run may have ended"
    run.row({"event": "export", "step": 20, "time": 0.0, "message": "é" * 300})
    lines = drawn(run, width, ascii=ascii_only)
    assert max(map(len, lines)) <= width
    assert not ascii_only or all(line.isascii() for line in lines)


def styles(run, **options):
    """(text, style) of every styled piece."""
    lines = panel(run, Screen(width=80, **options))
    spans = [
        (line.plain[s.start : s.end].strip(), str(s.style)) for line in lines for s in line.spans
    ]
    return spans + [(line.plain, str(line.style)) for line in lines]


def test_colours_are_those_that_show_on_light_and_dark_and_words_say_the_same():
    found = styles(state(teacher=(True, False)))
    used = {word for _, style in found for word in style.split()}
    assert used == {"bold", "green", "red"}
    good = [text for text, style in found if "green" in style]
    bad = [text for text, style in found if "red" in style]
    assert "goal below 5.0%: met" in good
    assert "goal from 97.0%: not met" in bad
    assert any("1 of 2 replicas up" in text for text in bad)


def test_a_run_without_teacher_goals_and_evaluations_shows_what_it_has():
    run = RunState("bare")
    assert drawn(run, 80) == ["bare", "waiting for the first step"]
    run.row({"step": 3, "steps": 9, "time": 5.0, "loss": {"total": 0.5}})
    assert [line.split()[0] for line in drawn(run, 80)] == ["bare", "loss"]


def test_a_run_that_stopped_or_is_silent_promises_no_time_of_arrival():
    assert "ETA" in drawn(state(), 80)[0]
    stopped = state()
    stopped.row({"event": "stop", "step": 20, "time": 0.0, "message": "every goal is met"})
    stopped.row({"event": "export", "step": 20, "time": 0.0})
    assert drawn(stopped, 80)[0].endswith("  stopped")
    stopped.row({"event": "start", "step": 20, "time": 0.0})
    assert "ETA" in drawn(stopped, 80)[0]
    silent = state()
    silent.silence = "no sign of life since 12:00:00"
    assert "ETA" not in drawn(silent, 80)[0]


def test_the_first_live_evaluation_is_of_the_original_model():
    run = RunState("seven")
    first = {"forget": {"top1": 1.0}, "retain": {"top1": 0.99}}
    run.look(Facts(attempt=1, live=first, evaluations=1))
    run.look(
        Facts(attempt=1, live={"forget": {"top1": 0.5}, "retain": {"top1": 0.98}}, evaluations=2)
    )
    assert [one.before for one in run.found] == [1.0, 0.99]


def test_the_first_one_after_a_resume_is_not():
    """Its counter begins anew with the process."""
    run = RunState("seven")
    half = {"forget": {"top1": 0.5}, "retain": {"top1": 0.98}}
    run.look(Facts(attempt=2, live=half, evaluations=1))
    assert [(one.now, one.before) for one in run.found] == [(0.5, None), (0.98, None)]


def test_goals_that_only_metrics_tell_are_shown_too():
    run = RunState("seven")
    run.look(
        Facts(
            before=BEFORE,
            live={"forget": {"top1": 0.3}, "retain": {"top1": 0.985}},
            goals={"forget_top1_below": 0.05, "retain_drop_above": 0.01},
            steps_to_goal={"forget_top1_below": 120.0, "forget_recall_below": float("inf")},
        )
    )
    lines = drawn(run, 120)
    assert any("30.0%" in x and "before 100.0%, goal below 5.0%: not met" in x for x in lines)
    assert any("98.5%" in x and "before 99.0%, goal from 98.0%: met" in x for x in lines)
    assert "        stop.forget_top1_below is 120 steps away at this pace" in lines
    assert "        stop.forget_recall_below does not come nearer" in lines


def test_the_last_state_stays_whole_on_the_screen_of_a_low_terminal():
    console = Console(
        file=io.StringIO(), width=80, height=6, force_terminal=True, _environ={"TERM": "xterm"}
    )
    progress = RichProgress(console, state())
    progress.start()
    live = console.file.getvalue()
    progress.end(75, "interrupted after step 20")
    progress.close()
    last = console.file.getvalue().removeprefix(live)
    assert live.count("\n") < 6
    assert "forgetting" not in live
    assert "forgetting" in last
    assert "interrupted after step 20" in last
