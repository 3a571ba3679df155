"""Importing without the garbage collector, and with it as it was afterwards."""

import gc

import pytest

from dist_erase.imports import quick_imports


def test_the_collector_rests_inside_and_works_behind():
    before = gc.get_freeze_count()
    with quick_imports():
        assert not gc.isenabled()
        made = [[] for _ in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() > before + len(made)


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
