"""Importing without the garbage collector, and with it as it was afterwards."""

import gc
import importlib
import subprocess
import sys

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


_LATER = """
import sys
from dist_erase.imports import quick_imports
with quick_imports():
    from dist_erase.teacher.embedder import Embedder
assert not {"torch._dynamo", "sympy", "triton"} & sys.modules.keys()
assert "timm" in sys.modules  # else there was nothing to leave out

import timm.layers, torch, torchvision
box = torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0]])
assert torchvision.ops.roi_align(torch.ones(1, 1, 2, 2), box, 1).item() == 1
from torchvision.ops.roi_align import is_compile_supported
assert is_compile_supported("cpu") in (True, False)
plain = timm.layers.disable_compiler(lambda x: 2 * x, reason="a test")
assert plain(1) == torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(1)).item() == 2
assert torch.compiler.disable.__module__ == "torch.compiler"
assert type(torch._dynamo.utils).__name__ == type(sys).__name__
"""


def test_the_compiler_comes_when_it_is_called():
    subprocess.run([sys.executable, "-c", _LATER], check=True)


_AT_ONCE = """
import sys
from dist_erase.imports import quick_imports
with quick_imports():
    import torch._dynamo.utils
    from torch._dynamo.utils import counters
    import torchvision
assert torch._dynamo.utils is sys.modules["torch._dynamo.utils"]
assert counters is torch._dynamo.utils.counters
"""


def test_who_imports_it_inside_has_it():
    subprocess.run([sys.executable, "-c", _AT_ONCE], check=True)
