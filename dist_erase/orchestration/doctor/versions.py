"""Installed packages against what this version asks for."""

from __future__ import annotations

import platform
import shutil
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import dist_erase
from dist_erase.orchestration.doctor.needs import has_gpu
from dist_erase.orchestration.doctor.row import Row, fail, ok, warn

PACKAGE = "dist-erase"
TOLD = ("torch", "deepspeed", "ray", "open_clip_torch")


def check_versions(requirements: list[str] | None = None, python: str = "") -> Iterator[Row]:
    """One row for all packages.

    Args:
        requirements: as in pyproject; None = those of the installed distribution.
        python: versions of Python that fit; "" = as the distribution says.
    """
    if requirements is None:
        try:
            requirements = metadata.requires(PACKAGE) or []
            told = metadata.metadata(PACKAGE)
            python = told.get("Requires-Python", "")  # type: ignore[attr-defined]
        except metadata.PackageNotFoundError:
            yield warn(
                "versions",
                "dist-erase is imported from a folder and not installed, so nothing says what it "
                "needs",
                "Install it: pip install --editable .",
            )
            return
    wrong = list(_misfits(requirements))
    if not SpecifierSet(python).contains(platform.python_version()):
        wrong.insert(0, f"Python {platform.python_version()} ({python} needed)")
    if wrong:
        mend = "Install them: pip install --constraint constraints.txt --editable ."
        yield fail("versions", "; ".join(wrong), mend)
    else:
        yield ok("versions", ", ".join(f"{name} {v}" for name, v in installed().items()))


def check_compiler(gpu: bool | None = None) -> Iterator[Row]:
    """What DeepSpeed needs on a machine without GPU, where it builds a small op on first use."""
    if has_gpu() if gpu is None else gpu:
        return
    missing = [] if shutil.which("g++") or shutil.which("c++") else ["a C++ compiler (g++)"]
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        missing.append("Python.h (python3-dev)")
    if missing:
        lacking = " and ".join(missing)
        yield fail(
            "compiler",
            f"without a GPU DeepSpeed builds a small op, and this machine lacks {lacking}",
            "Install them: apt-get install g++ python3-dev",
        )
    else:
        yield ok("compiler", "g++ and Python.h are there, for the op that DeepSpeed builds")


def installed() -> dict[str, str]:
    """Versions that have to agree between nodes."""
    found = {"dist-erase": dist_erase.__version__, "python": platform.python_version()}
    for name in TOLD:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def _misfits(requirements: list[str]) -> Iterator[str]:
    for text in requirements:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            yield f"{wanted.name} is not installed"
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            yield f"{wanted.name} is {version}, {wanted.specifier} needed"
