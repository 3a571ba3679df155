"""Shards that a command writes to its standard output: `pipe:COMMAND`, only where allowed.

A command can only be read from its beginning, so its output is kept in a file, once for each
machine, and blocks are read from that. No shell is started: the command is split into words.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from filelock import FileLock

from dist_erase.config.secrets import public
from dist_erase.data.source.local import LocalSource
from dist_erase.data.source.protocol import ShardStat
from dist_erase.storage import atomic_path

_SAID = 300  # characters of a failed command's own words


class PipeSource:
    """Runs each command once and reads its output.

    Args:
        folder: where outputs are kept; None = a folder of this user's among temporary files.
    """

    def __init__(self, folder: str | None) -> None:
        own = Path(tempfile.gettempdir()) / f"dist-erase-pipes-{os.getuid()}"
        # Beside the block cache, which deletes what it does not know.
        self._folder = Path(f"{folder.rstrip('/')}-pipes") if folder else own
        self._is_temporary = folder is None
        self._local = LocalSource()

    def read(self, shard: str, start: int, stop: int) -> bytes:
        """Bytes [start, stop) of the output; raises OSError if the command fails."""
        return self._local.read(str(self._output(shard)), start, stop)

    def stat(self, shard: str) -> ShardStat:
        """Size of the output, and a digest of it; raises OSError as `read`."""
        path = self._output(shard)
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16))
        return ShardStat(size=path.stat().st_size, version=digest.hexdigest())

    def _output(self, shard: str) -> Path:
        path = self._folder / hashlib.blake2b(shard.encode(), digest_size=16).hexdigest()
        if path.exists():
            return path
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._is_temporary and self._folder.stat().st_uid != os.getuid():
            # Among temporary files anybody may have made it, and would choose what is trained on.
            raise PermissionError(errno.EPERM, "belongs to another user", str(self._folder))
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                _run(shard, path)
        return path


def _run(shard: str, path: Path) -> None:
    words = shlex.split(shard.strip().removeprefix("|").removeprefix("pipe:"))
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        try:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.PIPE, check=False
            )
        except OSError as error:
            raise OSError(error.errno, error.strerror, public(shard)) from error
        if done.returncode:
            said = public(" ".join(done.stderr.decode(errors="replace").split())[-_SAID:])
            raise ChildProcessError(
                done.returncode, f"the command ended with {done.returncode}: {said}", public(shard)
            )
