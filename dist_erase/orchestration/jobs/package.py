"""What a job brings to the cluster: the code, the configuration and the files it names."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import dist_erase
from dist_erase.config.launcher import Launcher
from dist_erase.config.run import RunConfig
from dist_erase.errors import UserError
from dist_erase.orchestration.jobs.wheel import unpacked_wheel
from dist_erase.orchestration.shipped import NOTE

MIB = 2**20
LIMIT_BYTES = 90 * MIB  # Ray's upload ends at 100 MiB; its archive does not compress
_LARGEST_SHOWN = 5
_FILES = "files"
_LEFT_OUT = (".git", ".venv", "venv", "__pycache__", "*.tar", "*.pyc", ".gitignore", ".rayignore")


@dataclass(frozen=True, kw_only=True)
class Package:
    """A folder that becomes the job's working directory.

    Attributes:
        folder: where it lies on this machine.
        config: path of the configuration in it.
        overrides: KEY=VALUE for files whose path in it differs from the configuration's.
        sizes: bytes of each file, by its path in it.
        left_out: files below `include` that do not travel (shards, runs, .git).
    """

    folder: Path
    config: str
    overrides: tuple[str, ...]
    sizes: dict[str, int]
    left_out: int

    @property
    def bytes(self) -> int:
        """Of all its files."""
        return sum(self.sizes.values())


def build(folder: Path, path: Path, config: RunConfig, launcher: Launcher) -> Package:
    """Copies what the job needs into `folder`, which must be empty or absent.

    Args:
        folder: the package.
        path: the configuration file; only its name travels.
        config: what it resolves to; this travels.
        launcher: says what travels.

    Raises:
        UserError: a file to include is not below the current folder, or it is all too large;
            then nothing is copied.
    """
    sources: dict[str, Path] = {}
    skipped: list[Path] = []
    for entry in launcher.include:
        sources |= _included(entry, config, skipped)
    where = _add(sources, path)
    made = {where: _resolved(config)}
    if launcher.code == "package":
        made |= _code(config)
    named, overrides = [], []
    if not launcher.shared_disk:
        for key, file in _own_files(config):
            named.append(_add(sources, Path(file)))
            if named[-1] != file:
                overrides.append(f"{key}={named[-1]}")
    sizes = {name: source.stat().st_size for name, source in sources.items()}
    sizes |= {name: len(content) for name, content in made.items()}
    _check_size(sizes)
    _copy(folder, {name: source for name, source in sources.items() if name not in made})
    for name, content in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    note = {
        "dist_erase": dist_erase.__version__,
        "files": named,
        "secrets": launcher.secrets.model_dump(),
    }
    (folder / NOTE).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    return Package(
        folder=folder,
        config=where,
        overrides=tuple(overrides),
        sizes=sizes,
        left_out=len(skipped),
    )


def _code(config: RunConfig) -> dict[str, bytes]:
    """The wheel of what runs here, unpacked."""
    code = Path(dist_erase.__file__).parent
    names = _below(code, config, [])
    return unpacked_wheel({f"{code.name}/{name}": (code / name).read_bytes() for name in names})


def _resolved(config: RunConfig) -> bytes:
    """The configuration without what the file says besides: comments, values that are replaced.

    JSON is YAML too, and quotes every text.
    """
    tree = config.model_dump(mode="json", exclude_unset=True)
    return (json.dumps(tree, indent=2, ensure_ascii=False) + "\n").encode()


def _own_files(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Files of this machine that the configuration names and that are small: not weights."""
    if config.model.architecture.endswith(".json") and Path(config.model.architecture).is_file():
        yield "model.architecture", config.model.architecture
    if config.data.classes and Path(config.data.classes).is_file():
        yield "data.classes", config.data.classes


def _add(sources: dict[str, Path], file: Path) -> str:
    """Takes a file in, under its own path if that lies below the current folder."""
    name = str(PurePosixPath(file))
    if file.is_absolute() or ".." in file.parts:
        name = f"{_FILES}/{file.name}"
        number = 1
        while name in sources and not sources[name].samefile(file):
            number += 1
            name = f"{_FILES}/{number}/{file.name}"
    sources[name] = file
    return name


def _included(entry: str, config: RunConfig, skipped: list[Path]) -> dict[str, Path]:
    path = Path(entry)
    if path.is_absolute() or ".." in path.parts or not path.exists():
        raise UserError(
            f"include: {entry}",
            "does not lie below the current folder." if path.exists() else "does not exist.",
            "Name files and folders as seen from where you call dist-erase.",
        )
    if path.is_file():
        return {str(PurePosixPath(path)): path}
    return {str(PurePosixPath(path / name)): path / name for name in _below(path, config, skipped)}


def _below(folder: Path, config: RunConfig, skipped: list[Path]) -> Iterator[str]:
    """Files in `folder`, without what never travels."""
    runs = Path(config.run.dir).absolute()
    for at, folders, files in os.walk(folder):
        here = Path(at)
        out = [n for n in folders if _stays_here(n) or (here / n).absolute() == runs]
        skipped += [file for name in out for file in (here / name).rglob("*") if file.is_file()]
        folders[:] = sorted(set(folders) - set(out))
        for name in sorted(files):
            if _stays_here(name):
                skipped.append(here / name)
            else:
                yield str(PurePosixPath((here / name).relative_to(folder)))


def _stays_here(name: str) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in _LEFT_OUT)


def _check_size(sizes: dict[str, int]) -> None:
    total = sum(sizes.values())
    if total <= LIMIT_BYTES:
        return
    largest = sorted(sizes, key=lambda name: -sizes[name])[:_LARGEST_SHOWN]
    listed = ", ".join(f"{name} ({in_mib(sizes[name])})" for name in largest)
    raise UserError(
        "package",
        f"holds {in_mib(total)}, more than {in_mib(LIMIT_BYTES)}; Ray itself refuses 100 MiB. The "
        f"largest: {listed}.",
        "Take them out of the launcher's include, and put data and weights where the nodes read "
        "them: on a shared disk or in a store.",
    )


def _copy(folder: Path, sources: dict[str, Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in sources.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def in_mib(size: int) -> str:
    """`1.2 MiB`."""
    return f"{size / MIB:.1f} MiB"
