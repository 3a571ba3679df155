"""Importing without the garbage collector, and with it as it was afterwards."""

import gc
import importlib

import pytest

from dist_erase.imports import quick_imports


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Name of one that nobody has imported."""
    (tmp_path / "of_many_lists.py").write_text("LISTS = [[] for _ in range(1000)]\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "of_many_lists"


def test_the_collector_rests_inside_and_leaves_alone_what_came(module):
    before = gc.get_freeze_count()
    with quick_imports():
        assert not gc.isenabled()
        importlib.import_module(module)
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + 1000


def test_where_nothing_was_imported_nothing_is_kept():
    before = gc.get_freeze_count()
    with quick_imports():
        made = [[] for _ in range(1000)]
    assert gc.get_freeze_count() <= before
    assert len(made) == 1000  # alive until here


def test_an_import_that_fails_turns_it_on_again():
    with pytest.raises(ImportError), quick_imports():
        raise ImportError("no such thing")
    assert gc.isenabled()


def test_one_inside_another_leaves_it_off_until_the_outer_ends():
    with quick_imports():
        with quick_imports():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
