"""A run folder that not every rank sees is told from one that all share."""

import pytest
import torch
from support.processes import run_ranks

from dist_erase.errors import UserError
from dist_erase.orchestration.shared_folder import all_see, outcome_of


def look(rank, folders):
    return all_see(folders[rank], torch.device("cpu"))


@pytest.mark.parametrize("shared", [True, False])
def test_all_ranks_agree_on_what_they_see(tmp_path, shared):
    folders = [tmp_path / "one", tmp_path / ("one" if shared else "another")]
    for folder in set(folders):
        folder.mkdir()
    (tmp_path / "one" / "config.json").write_text("{}")
    assert run_ranks(look, 2, folders) == [shared, shared]


def test_the_driver_says_so(tmp_path):
    with pytest.raises(UserError, match=r"run\.dir: .* is another folder on a node"):
        outcome_of(tmp_path)
    (tmp_path / "outcome.json").write_text('{"steps": 3}')
    assert outcome_of(tmp_path) == {"steps": 3}
