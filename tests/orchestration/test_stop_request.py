"""A file in the run folder asks the run to stop; the run's next start removes it."""

import json

import pytest

from dist_erase.errors import StopAsked
from dist_erase.orchestration.run_folder import claim
from dist_erase.orchestration.stop_request import request_stop, stop_requested


def test_a_run_is_not_asked_to_stop(tmp_path):
    assert stop_requested(tmp_path) is None


@pytest.mark.parametrize(
    "asked", [StopAsked("sigterm", "SIGTERM"), StopAsked("request", "`dist-erase stop`")]
)
def test_a_request_says_who_asks(tmp_path, asked):
    request_stop(tmp_path, asked)
    assert stop_requested(tmp_path) == asked
    assert json.loads((tmp_path / "stop").read_text())["time"] > 1.7e9


@pytest.mark.parametrize("text", ["", "please", "[]", '{"reason": "  "}', '{"time": 1}'])
def test_a_file_without_a_reason_is_a_request_too(tmp_path, text):
    (tmp_path / "stop").write_text(text)
    assert stop_requested(tmp_path) == StopAsked("request", "a stop request")


def test_a_reason_is_one_line(tmp_path):
    (tmp_path / "stop").write_text(json.dumps({"reason": "a person\nwho types", "time": 1.0}))
    assert stop_requested(tmp_path) == StopAsked("request", "a person who types")


def test_the_next_start_forgets_the_request(copy_of_run):
    from dist_erase.config.run import RunConfig

    stored = json.loads((copy_of_run / "config.json").read_text())["config"]
    stored["run"]["dir"] = str(copy_of_run.parent)
    for left in ("stop", "end.json", "user_error.json", "rank_failure.json"):
        (copy_of_run / left).write_text("{}")
    claim(RunConfig.model_validate(stored), resume=True)
    assert not [p for p in copy_of_run.iterdir() if p.name in ("stop", "rank_failure.json")]
