"""What doctor makes of the answer of another node."""

import pytest
from support.light import ROOT

from dist_erase.config.load import load_config
from dist_erase.config.run import RunConfig
from dist_erase.orchestration.doctor.node import NodeFacts, look_here
from dist_erase.orchestration.doctor.probe_ray import Answer, _marker, answer_rows
from dist_erase.orchestration.doctor.versions import installed


@pytest.fixture
def config(tmp_path):
    """Its run.dir does not exist yet, as before the first run of a project."""
    where = [f"run.dir={tmp_path}/shared/runs"]
    return load_config(ROOT / "configs" / "quickstart.yaml", where, RunConfig).config


def rows_of(config, sees):
    facts = NodeFacts(
        host="far",
        boot="far 1",
        now=10.0,
        versions=installed(),
        sees=sees,
        listens="10.0.0.2",
        rows=(),
    )
    answer = Answer(facts=facts, sent=10.0, received=10.0)
    return {row.check: row for row in answer_rows(config, answer, "here 1", alone=False)}


@pytest.mark.parametrize(("sees", "state"), [(True, "ok"), (False, "fail"), (None, "warn")])
def test_a_folder_is_called_shared_only_if_that_was_seen(config, sees, state):
    assert rows_of(config, sees)["shared run.dir"].state == state


def test_the_nearest_folder_above_is_looked_at_before_the_first_run(config, tmp_path):
    with _marker(config) as marker:
        assert look_here(config, marker, own_boot="").sees is True
        assert marker.startswith(f"{tmp_path}/")
        (other := tmp_path / "elsewhere").mkdir()
        assert (
            look_here(config, marker.replace(str(tmp_path), str(other)), own_boot="").sees is False
        )
    assert list(tmp_path.glob(".doctor-*")) == []
    assert look_here(config, "", own_boot="").sees is None
