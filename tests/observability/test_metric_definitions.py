import re
import shutil
import subprocess
import typing

import pytest

from dist_erase.observability.emit import Counter, Gauge, Histogram, Info, Metrics
from dist_erase.observability.metrics import COMMON_LABELS, DEFINITIONS, PREFIX, UNITS
from dist_erase.observability.snapshot import to_text

KINDS = {Counter: "counter", Gauge: "gauge", Histogram: "histogram", Info: "info"}


def test_attributes_are_the_definitions_with_their_kinds_and_label_counts():
    declared = {}
    for name, hint in typing.get_type_hints(Metrics).items():
        if hint is Info:
            declared[name] = ("info", None)
            continue
        declared[name] = (KINDS[typing.get_origin(hint)], len(typing.get_args(hint)))
    defined = {
        d.attribute: (d.kind, None if d.kind == "info" else len(d.labels)) for d in DEFINITIONS
    }
    assert declared == defined


def test_names_are_unique():
    names = [d.name for d in DEFINITIONS]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d.attribute)
def test_a_definition_keeps_the_naming_rules(definition):
    assert re.fullmatch(PREFIX + "[a-z][a-z_]*[a-z]", definition.name)
    assert definition.name.endswith("_total") == (definition.kind == "counter")
    assert definition.name.endswith("_info") == (definition.kind == "info")
    base = definition.name.removesuffix("_total").rpartition("_")[2]
    assert definition.unit == (base if base in UNITS else "")
    for unit in UNITS:  # nowhere but at the end
        assert (f"_{unit}" in definition.name) == (unit == definition.unit)
    assert definition.question.endswith("?")
    assert definition.help.endswith(".")
    assert bool(definition.buckets) == (definition.kind == "histogram")
    assert list(definition.buckets) == sorted(set(definition.buckets))
    assert not {label.name for label in definition.labels} & {*COMMON_LABELS, "le"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: apt install prometheus")
def test_promtool_finds_nothing_to_say_about_every_metric():
    metrics = Metrics(run="r", role="student", rank=0)
    for definition in DEFINITIONS:
        instrument = getattr(metrics, definition.attribute)
        labels = [label.values[0] if label.values else "x" for label in definition.labels]
        match instrument:
            case Counter():
                instrument.inc(1, *labels)
            case Gauge():
                instrument.set(1.5, *labels)
            case Histogram():
                instrument.observe(0.2, *labels)
            case Info():
                instrument.set(**{label.name: "x" for label in definition.labels})
    text = to_text(metrics.registry.collect())
    assert text.count("# TYPE") == len(DEFINITIONS)
    result = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=30
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
