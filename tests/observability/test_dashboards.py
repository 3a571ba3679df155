"""The dashboards show the metrics that there are, where and how the registry says."""

import json
import re

import pytest
from support.grafana_schema import problems

from dist_erase.observability.definitions.alarms import ALARMS
from dist_erase.observability.metrics import COMMON_LABELS, DEFINITIONS
from monitoring.generate.alerts import ALERTS
from monitoring.generate.conditions import RECORDED
from monitoring.generate.files import BOARDS, generated
from monitoring.generate.records import COLUMNS
from monitoring.generate.rules import rules

NAMES = {"progress": "unlearning"}  # the registry's word for a dashboard → its file
FILES = {path.stem: text for path, text in generated().items() if path.suffix == ".json"}
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}
SERIES = {
    f"{definition.name}{suffix}": definition
    for definition in DEFINITIONS
    for suffix in SUFFIXES.get(definition.kind, ("",))
}


def metrics_of(text: str) -> set[str]:
    # In a recorded series' name the metric stands between colons.
    return set(re.findall(r"(?<!:)\b(dist_erase_\w+)\b(?!:)", text))


def queries(board):
    """Those of panels, and the marks."""
    return [*(query for panel in board.panels for query in panel.queries), *board.annotations]


@pytest.mark.parametrize("name", FILES)
def test_a_dashboard_is_as_grafanas_schema_says(name):
    assert problems(FILES[name]) == []


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (("panels", 1, "fieldConfig", "defaults", "unit"), 5, "unit"),
        (("panels", 1, "titel"), "x", "titel is unknown"),
        (("panels", 1, "gridPos", "w"), "wide", "grid_pos.w"),
        (("graphTooltip",), 9, "graph_tooltip"),
        (("panels", 1, "targets", 0, "format"), "graph", "format"),
        (("templating", "list", 0, "hide"), 9, "hide"),
    ],
)
def test_what_is_against_the_schema_is_found(key, value, said):
    broken = json.loads(FILES["unlearning"])
    at = broken
    for part in key[:-1]:
        at = at[part]
    at[key[-1]] = value
    found = problems(json.dumps(broken))
    assert any(said in problem for problem in found), found


@pytest.mark.parametrize("name", BOARDS)
def test_every_metric_asked_for_is_registered(name):
    asked = {m for q in queries(BOARDS[name]) for m in metrics_of(q.expr)}
    assert asked
    assert asked - SERIES.keys() == set()


def test_every_metric_that_alerts_look_at_is_registered():
    assert metrics_of(rules()) - SERIES.keys() == set()


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_the_registry_knows_what_an_alert_looks_at_and_fires_at(alert):
    expr = alert.expr
    for name, recorded in RECORDED.items():
        expr = expr.replace(name, recorded)
    assert {SERIES[m] for m in metrics_of(expr)} == {
        d for d in DEFINITIONS if alert.alarm in d.alerts
    }
    if alert.alarm.limit is not None:
        assert re.search(rf"[<>+\-(\[ ]{alert.alarm.limit:g}(m\]| |\)|$)", expr), expr


def test_every_alarm_of_the_registry_is_an_alert():
    assert [alert.alarm for alert in ALERTS] == list(ALARMS)


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d.attribute)
def test_every_metric_is_shown_on_its_dashboard(definition):
    board = BOARDS[NAMES.get(definition.dashboard, definition.dashboard)]
    shown = {SERIES[m] for q in queries(board) for m in metrics_of(q.expr)}
    assert definition in shown


@pytest.mark.parametrize("name", BOARDS)
def test_labels_asked_for_exist_and_have_the_values_asked_for(name):
    for query in queries(BOARDS[name]):
        for metric, inside in re.findall(r"\b(dist_erase_\w+)\{([^}]*)\}", query.expr):
            labels = {label.name: label.values for label in SERIES[metric].labels}
            for label, sign, value in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', inside):
                assert label in {*labels, *COMMON_LABELS}, query.expr
                closed = labels.get(label, ())
                if closed and "$" not in value:
                    alternatives = value.split("|") if sign == "=~" else [value]
                    for one in alternatives:
                        assert any(re.fullmatch(one, known) for known in closed), query.expr


@pytest.mark.parametrize("name", BOARDS)
def test_panels_are_told_apart_explained_and_fit_the_grid(name):
    board = BOARDS[name]
    titles = [panel.title for panel in board.panels]
    assert len(titles) == len(set(titles))
    for panel in board.panels:
        assert len(panel.about) > 40
        assert panel.about.endswith(".")
    for row in board.rows:
        assert 1 <= len(row.panels) <= 10, row.title
        assert sum(panel.width for panel in row.panels) % COLUMNS == 0, row.title
    placed = [p for p in json.loads(FILES[name])["panels"] if "gridPos" in p]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in placed)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells)), "panels overlap"
    assert max(x for x, _ in cells) < COLUMNS
    assert len({panel["id"] for panel in placed}) == len(placed)


@pytest.mark.parametrize("name", FILES)
def test_what_is_open_fits_on_one_screen(name):
    """1,080 pixels less the browser's and Grafana's own bars, in Grafana's units of 38."""
    bottoms = [p["gridPos"]["y"] + p["gridPos"]["h"] for p in json.loads(FILES[name])["panels"]]
    assert max(bottoms) <= (1080 - 150) // 38


@pytest.mark.parametrize("name", BOARDS)
def test_units_follow_the_metrics(name):
    """A panel of one metric that is not divided or counted has that metric's unit."""
    fitting = {
        "seconds": {"s"},
        "bytes": {"bytes", "Bps", "percentunit"},
        "ratio": {"percentunit", "none", ""},
        "": {"", "short", "none", "ops"},
    }
    for panel in BOARDS[name].panels:
        for query in panel.queries:
            asked = metrics_of(query.expr) - {"dist_erase_run_start_timestamp_seconds"}
            (*definitions,) = {SERIES[m] for m in asked}
            if len(definitions) == 1 and not re.search(
                r"/|count\(|avg\(|_sum|\{\{le\}\}", query.expr
            ):
                unit = panel.unit if query.unit is None else query.unit
                assert unit in fitting[definitions[0].unit], (panel.title, query.expr)


@pytest.mark.parametrize("name", FILES)
def test_every_query_asks_the_chosen_source_and_run(name):
    dashboard = json.loads(FILES[name])
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert {"datasource", "run"} <= variables.keys()
    if name != "compare":
        assert {"rank", "node"} <= variables.keys()
    panels = [
        *dashboard["panels"],
        *(p for row in dashboard["panels"] for p in row.get("panels", [])),
    ]
    for target in (target for panel in panels for target in panel.get("targets", [])):
        assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        asked = re.findall(r"\$(\w+)", target["expr"])
        known = {*variables, "__rate_interval", "__range"}
        assert set(asked) <= known, target["expr"]
        if "DCGM" not in target["expr"]:
            assert "run" in asked, target["expr"]


def test_every_dashboard_has_an_address_of_its_own_and_links_to_rays():
    dashboards = [json.loads(text) for text in FILES.values()]
    assert len({dashboard["uid"] for dashboard in dashboards}) == len(FILES) == 4
    for dashboard in dashboards:
        assert "/d/rayTrainDashboard" in [link.get("url") for link in dashboard["links"]]
