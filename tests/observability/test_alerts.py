"""Each alert fires when it must, is silent when it must be, and is explained."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "monitoring/alerts"
RULES = yaml.safe_load((ALERTS / "dist_erase.yml").read_text())["groups"][0]["rules"]
TESTS = yaml.safe_load((ALERTS / "tests/dist_erase_test.yml").read_text())
FIRING = [rule for rule in RULES if "alert" in rule]
NAMES = [rule["alert"] for rule in FIRING]

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool: apt install prometheus"
)


def promtool(*arguments):
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True)


@needs_promtool
def test_the_rules_are_valid():
    check = promtool("check", "rules", "--lint-fatal", ALERTS / "dist_erase.yml")
    assert check.returncode == 0, check.stdout + check.stderr


@needs_promtool
def test_alerts_fire_when_they_must_and_only_then():
    done = promtool("test", "rules", ALERTS / "tests/dist_erase_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", ["never", "too early"])
def test_a_wrong_alert_is_found_by_its_test(name, wrong, tmp_path):
    # Without the other alerts, whose tests are not run here.
    rules = [dict(rule) for rule in RULES if rule.get("alert") in (name, None)]
    alert = next(rule for rule in rules if rule.get("alert") == name)
    if wrong == "never":
        alert["expr"] = "vector(1) > 2"
    elif alert["for"] != "0s":
        alert["for"] = "0s"
    else:
        alert["expr"] = "vector(1)"
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "x", "rules": rules}]}))
    own = [test for test in TESTS["tests"] if name in test["name"]]
    (tmp_path / "test.yml").write_text(
        yaml.safe_dump(TESTS | {"rule_files": ["rules.yml"], "tests": own})
    )
    done = promtool("test", "rules", tmp_path / "test.yml")
    assert own
    assert done.returncode == 1, f"the test of {name} cannot tell that it fires {wrong}"
    assert "FAILED" in done.stdout + done.stderr


def test_pods_without_a_run_are_not_what_the_alert_of_silent_addresses_looks_at():
    """Their job is the one that the alert's promtool test has as idle."""
    monitor = yaml.safe_load((ROOT / "monitoring/kubernetes/podmonitor.yml").read_text())
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    (job,) = (r["replacement"] for r in endpoint["relabelings"] if r["targetLabel"] == "job")
    (test,) = (t for t in TESTS["tests"] if "Unreachable" in t["name"])
    assert any(f'job="{job}"' in series["series"] for series in test["input_series"])
    (rule,) = (rule for rule in FIRING if rule["alert"] == "DistEraseMetricsUnreachable")
    assert f'job="{job}"' not in rule["expr"]


@pytest.mark.parametrize("rule", FIRING, ids=NAMES)
def test_an_alert_says_what_to_do(rule):
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    text = (ROOT / "docs" / page.rpartition("/")[2]).read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, flags=re.M)
    assert anchor in [heading.lower() for heading in headings]


@needs_promtool
@pytest.mark.parametrize(
    ("external", "base"),
    [({}, "/user"), ({"runbook_base": "https://git.example/docs"}, "https://git.example/docs")],
)
def test_the_runbook_is_at_prometheus_or_where_an_external_label_says(tmp_path, external, base):
    (test,) = (t for t in TESTS["tests"] if "Unreachable" in t["name"])
    text = yaml.safe_dump(test | {"external_labels": external})
    # The address of promtool's Prometheus is empty.
    known = "runbook_url: /user/"
    assert known in text
    (tmp_path / "test.yml").write_text(
        yaml.safe_dump(
            TESTS
            | {"rule_files": [str(ALERTS / "dist_erase.yml")]}
            | {"tests": [yaml.safe_load(text.replace(known, f"runbook_url: {base}/"))]}
        )
    )
    done = promtool("test", "rules", tmp_path / "test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_runbook_has_no_section_without_an_alert_but_preemption():
    text = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, flags=re.M) == ["Preemption", *NAMES]
    for link in re.findall(r"\]\(#([^)]*)\)", text):
        assert link in [name.lower() for name in NAMES]
