"""Imports of torch, open_clip, DeepSpeed and Ray Train, as quick as they can be."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"
_HELPERS = f"{_COMPILER}.utils"


@contextmanager
def quick_imports() -> Iterator[None]:
    """Imports inside leave the garbage collector and torch's compiler alone.

    They make a million objects that come to stay, and the collector looks at all of them again and
    again: a third of the seconds that a rank takes to import what it needs. Behind the block it
    never looks at them again, so its later rounds are short, too. Where all was imported before,
    nothing is kept from it: what is alive then may become garbage.

    The compiler is another third. torchvision and timm, which open_clip imports, load it to mark
    functions that it should not touch; here that waits until such a function is called.
    """
    on, known = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        with _compiler_later():
            yield
    finally:
        if len(sys.modules) > known:
            gc.freeze()
        if on:
            gc.enable()


class _HelpersLater(ModuleType):
    """Stands in for the compiler's helpers: the one that torchvision imports, to call it later.

    Who asks for anything else gets the real ones.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system looks whether this is a package
            raise AttributeError(name)
        if name == "is_compile_supported":
            return lambda device: _real_helpers().is_compile_supported(device)
        return getattr(_real_helpers(), name)


def _end_stand_in() -> None:
    if isinstance(sys.modules.get(_HELPERS), _HelpersLater):
        del sys.modules[_HELPERS]


def _real_helpers() -> ModuleType:
    _end_stand_in()
    import torch._dynamo.utils as helpers

    return helpers


@contextmanager
def _compiler_later() -> Iterator[None]:
    import torch
    from torch._compile import _disable_dynamo

    if _COMPILER in sys.modules:
        yield
        return

    def disable(
        fn: Callable[..., Any] | None = None, recursive: bool = True, *, reason: str | None = None
    ) -> Any:
        return _disable_dynamo(fn, recursive)  # at the first call

    at_once, torch.compiler.disable = torch.compiler.disable, disable
    sys.modules[_HELPERS] = _HelpersLater(_HELPERS)
    try:
        yield
    finally:
        torch.compiler.disable = at_once
        _end_stand_in()
