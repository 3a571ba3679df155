"""Every query of every dashboard and alert, asked of a real Prometheus about real runs.

`--answers FILE` keeps the answers, for monitoring/render_dashboards.py to draw.
"""

import json
import math
import subprocess
import time

import pytest
from support.asking import Span, ask_marks, ask_panel, ask_variable, panels_of
from support.prometheus import INSTALLED
from support.runs import BIN, rows, steps

from monitoring.generate.alerts import ALERTS
from monitoring.generate.files import BOARDS, FOLDER

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not INSTALLED, reason="no prometheus: apt install prometheus"),
]
DASHBOARDS = {
    name: json.loads((FOLDER / f"grafana/dashboards/{name}.json").read_text()) for name in BOARDS
}
PANELS = [(name, panel) for name in DASHBOARDS for panel in panels_of(DASHBOARDS[name])]
MARKS = [
    (name, mark) for name in DASHBOARDS for mark in DASHBOARDS[name]["annotations"].get("list", [])
]
LATE_SECONDS = 8.0  # until an event is in a snapshot, scraped, and at a step of the query
VARIABLES = [
    (name, variable)
    for name in DASHBOARDS
    for variable in DASHBOARDS[name]["templating"]["list"]
    if variable["type"] == "query"
]


def shown(value):
    return value if isinstance(value, str) else value.get("title") or value["name"]


class Watched:
    """Prometheus, the runs that it saw, and what of them is looked at."""

    def __init__(self, prometheus, killed, fewer):
        self.prometheus = prometheus
        self.folder = killed
        spans = {folder.name: self._span(folder) for folder in (killed, fewer[0])}
        self.single = spans["killed"]
        self.both = Span(
            start=min(span.start for span in spans.values()),
            end=max(span.end for span in spans.values()),
            now=self.single.now,
        )

    def _span(self, folder):
        start = next(row["time"] for row in rows(folder)) - 5
        alive = f'dist_erase_heartbeat_timestamp_seconds{{run="{folder.name}",role="driver"}}'
        (driver,) = self.prometheus.over(alive, start, time.time(), 1)
        # By then the last step has been written down and scraped.
        written = steps(folder)[16]["time"] + 2.0
        now = next(at for at, _ in driver["values"] if at >= written)
        return Span(start=start, end=driver["values"][-1][0], now=now)

    def of(self, board):
        """The value of $run and the span that a board is asked for."""
        if BOARDS[board].many_runs:
            return "killed|fewer", self.both
        return "killed", self.single


@pytest.fixture(scope="module")
def watched(watching, killed, fewer, request):
    found = Watched(watching, killed, fewer)
    yield found
    if request.config.getoption("--answers"):
        keep(found, request.config.getoption("--answers"))


def finite(answer):
    """How many numbers of an answer are numbers."""
    points = [p for s in answer for p in s.get("values", [s.get("value")])]
    return sum(math.isfinite(float(text)) for _, text in points)


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=shown)
def test_a_panel_is_answered(watched, board, panel):
    runs, span = watched.of(board)
    record = next(p for p in BOARDS[board].panels if p.title == panel["title"])
    answers = ask_panel(watched.prometheus, panel, runs, span)
    for query, answer in zip(record.queries, answers, strict=True):
        if not query.may_be_empty:
            assert finite(answer) > 0, query.expr


def test_what_this_run_measures_is_shown_too(watched):
    """Queries that some runs leave empty, but not one with goals, evaluations and deaths."""
    runs, span = watched.of("unlearning")
    empty = []
    for board in ("unlearning", "throughput", "cluster"):
        for panel in panels_of(DASHBOARDS[board]):
            answers = ask_panel(watched.prometheus, panel, runs, span)
            record = next(p for p in BOARDS[board].panels if p.title == panel["title"])
            empty += [
                (panel["title"], query.legend, query.may_be_empty)
                for query, answer in zip(record.queries, answers, strict=True)
                if not answer
            ]
    assert {reason for _, _, reason in empty} <= {
        "only on GPUs",
        "only on devices whose peak is known",
        "only where NVIDIA's DCGM exporter is scraped",
        "only where a sample is unusable",
    }, empty


@pytest.mark.parametrize(("board", "mark"), MARKS, ids=shown)
def test_checkpoints_evaluations_and_restarts_are_marked(watched, board, mark):
    runs, span = watched.of(board)
    times = ask_marks(watched.prometheus, mark, runs, span)
    assert times
    assert all(span.start < at <= span.end for at in times)
    event = {"Checkpoints": "checkpoint", "Evaluations": "evaluation"}.get(mark["name"])
    if event is not None:
        done = [row["time"] for row in rows(watched.folder) if row.get("event") == event]
        # Events near to each other are one mark; none is without one, as at a restart.
        assert len(times) <= len(done)
        assert all(any(-1 < at - one < LATE_SECONDS for one in done) for at in times), (times, done)


@pytest.mark.parametrize(("board", "variable"), VARIABLES, ids=shown)
def test_a_variable_has_its_choices(watched, board, variable):
    runs, span = watched.of(board)
    choices = ask_variable(watched.prometheus, variable, runs, span)
    expected = {"run": {"killed", "fewer"}, "rank": {"0", "1"}, "node": set()}
    assert expected[variable["name"]] <= set(choices)
    assert choices


def test_prometheus_evaluates_every_rule(watched):
    (group,) = watched.prometheus.get("rules")["groups"]
    assert {rule["name"] for rule in group["rules"]} >= {alert.name for alert in ALERTS}
    assert [r["lastError"] for r in group["rules"] if r["health"] != "ok"] == []


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_can_be_asked_at_any_time_of_a_run(watched, alert):
    watched.prometheus.over(alert.expr, watched.both.start, watched.both.end, 1)


def test_no_alert_fires_for_runs_that_mend_themselves(watched):
    fired = 'ALERTS{alertstate="firing",run=~"killed|fewer"}'
    assert watched.prometheus.over(fired, watched.both.start, time.time(), 1) == []


def test_a_run_whose_loss_is_not_finite_fires_its_alert(watching, bench, original):
    # Pretraining is one process on the same loop: a third of the time of a run on Ray.
    hot = ["train.optimizer=sgd", "train.lr=1e30", "train.grad_clip=0", "train.warmup_steps=0"]
    where = [f"run.dir={bench.runs}", "run.name=diverged", "observe.grace_seconds=20"]
    config = original.parents[1] / "pretrain.yaml"
    command = [str(BIN / "dist-erase"), "pretrain", str(config), *hot, *where]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "is not finite" in done.stderr
    (alert,) = watching.wait_for('ALERTS{alertstate="firing",run="diverged"}')
    assert alert["metric"]["alertname"] == "DistEraseLossNonFinite"


def keep(watched, path):
    """All answers, with when they were asked for, as one JSON file."""
    boards = {}
    for board, dashboard in DASHBOARDS.items():
        runs, span = watched.of(board)
        boards[board] = {
            "runs": runs,
            "start": span.start,
            "end": span.end,
            "now": span.now,
            "panels": {
                panel["id"]: ask_panel(watched.prometheus, panel, runs, span)
                for panel in panels_of(dashboard)
            },
            "marks": {
                mark["name"]: ask_marks(watched.prometheus, mark, runs, span)
                for name, mark in MARKS
                if name == board
            },
        }
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(boards, stream)
