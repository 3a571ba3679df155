"""YAML as people write it, not as YAML 1.1 reads it."""

import pytest
import yaml

from dist_erase.config.document import parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1.0e-5", 1e-5),
        ("+2E3", 2000.0),
        (".5", 0.5),
        ("-3", -3),
        ("0", 0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("off", "off"),
        ("no", "no"),
        ("on: retain", {"on": "retain"}),
        ("1:30", "1:30"),
        ("010", "010"),
        ("2024-01-01", "2024-01-01"),
        ("'1'", "1"),
        ("[1, 1e3, off]", [1, 1000.0, "off"]),
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
    ],
)
def test_scalars(text, value):
    parsed = parse_yaml(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3", "s:\n  a: 1\n  a: 1"])
def test_a_key_that_stands_twice_is_refused(text):
    with pytest.raises(yaml.YAMLError, match="the key 'a' stands twice"):
        parse_yaml(text)


@pytest.mark.parametrize("text", ["!!python/object/apply:os.getcwd []", "? [1, 2]\n: 3", "a: {"])
def test_what_is_no_data_is_refused(text):
    with pytest.raises(yaml.YAMLError):
        parse_yaml(text)
