"""Where a run's rows and facts come from: its folder, or its metrics address."""

from __future__ import annotations

import json
import time
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dist_erase.errors import UserError
from dist_erase.observability.asking import get
from dist_erase.observability.facts import Facts, facts_of, measuring_changes, pool_changes
from dist_erase.observability.metrics import PREFIX
from dist_erase.observability.rows import Row
from dist_erase.observability.scrape import Scrape, parse
from dist_erase.observability.scrape_rows import ScrapeRows, run_changes
from dist_erase.observability.snapshot import END
from dist_erase.observability.watchers import new_agent

_MEND = "Give the address that the run printed at its start, with /metrics."
_PASSWORD = (
    "Write name and password into ~/.netrc (chmod 600): machine HOST login NAME password PASSWORD."
)


@dataclass(frozen=True, kw_only=True)
class Update:
    """What is new since the last look.

    Attributes:
        rows: step and event rows, oldest first.
        facts: what metrics say now; None = not looked at this time.
        silent: why there was no answer; None = there was one.
    """

    rows: tuple[Row, ...] = ()
    facts: Facts | None = None
    silent: str | None = None


class Source(Protocol):
    """Something that can be asked about a run again and again."""

    def poll(self) -> Update:
        """What is new; never waits long."""


class Tail:
    """Reads the rows appended to a file since the last call.

    The file may appear later, end in half a line (which waits for its rest), shrink (it is then
    read anew) or hold the broken line of a killed process (which is left out).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._rest = b""

    def read(self) -> list[Row]:
        """The new rows."""
        try:
            with self._path.open("rb") as file:
                if self._path.stat().st_size < self._position:
                    self._position, self._rest = 0, b""
                file.seek(self._position)
                new = file.read()
        except FileNotFoundError:
            return []
        self._position += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        return [row for row in map(_parse, lines) if row is not None]


class FolderSource:
    """Reads a run folder: every row of metrics.jsonl, and what its processes left.

    Args:
        rows: the run's metrics.jsonl.
        look: reads the processes' metrics.
        look_seconds: how often; they are replaced once a second.
    """

    def __init__(
        self, rows: Path, look: Callable[[], Scrape], *, look_seconds: float = 2.0
    ) -> None:
        self._tail = Tail(rows)
        self._look = look
        self._look_seconds = look_seconds
        self._looked_at: float | None = None
        self._facts: Facts | None = None

    def poll(self) -> Update:
        """New rows; facts when it is time for them."""
        rows = self._tail.read()
        now = time.monotonic()
        if self._looked_at is not None and now - self._looked_at < self._look_seconds:
            return Update(rows=tuple(rows))
        self._looked_at = now
        facts = facts_of(self._look())
        if self._facts is not None:
            rows += pool_changes(self._facts.teacher, facts.teacher, time.time())
            rows += measuring_changes(self._facts, facts, time.time())
        self._facts = facts
        return Update(rows=tuple(rows), facts=facts)


class UrlSource:
    """Asks the metrics address of a run.

    Args:
        url: of its exporter, path included.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._agent = new_agent()
        self._rows = ScrapeRows()
        self._facts: Facts | None = None

    def poll(self) -> Update:
        """The steps since the last look as one row, and what else changed as events.

        Raises:
            UserError: what answers is not a dist-erase run, or is two.
        """
        try:
            text = get(self._url, self._agent)
        except ValueError as error:
            raise UserError(self._url, f"cannot be asked ({error}).", _MEND) from None
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                raise UserError(
                    self._url,
                    f"answers {error.code} {error.reason}.",
                    _PASSWORD if error.code == 401 else _MEND,
                ) from None
            return Update(silent=_why(error))
        now = time.time()
        try:
            scrape = parse(text)
        except ValueError:
            scrape = parse("")
        ours = f"\n{PREFIX}" in f"\n{text}"  # a line; others have the name within one
        if ours and not text.endswith(END) and len(scrape.runs) < 2:
            return Update(silent="the answer broke off")  # the run was killed as it answered
        if len(scrape.runs) != 1:
            listed = f"serves several runs ({', '.join(scrape.runs)})"
            raise UserError(
                self._url,
                f"{listed if scrape.runs else 'serves no metrics of dist-erase'}.",
                _MEND,
            )
        facts, row = facts_of(scrape), self._rows.row(scrape, now)
        rows = [] if row is None else [row]
        if self._facts is not None:
            step = int(scrape.value("step", rank="0") or 0)
            rows += run_changes(self._facts, facts, step, now)
            rows += pool_changes(self._facts.teacher, facts.teacher, now)
            rows += measuring_changes(self._facts, facts, now)
        self._facts = facts
        return Update(rows=tuple(rows), facts=facts)


def _why(error: Exception) -> str:
    """In few words why there was no answer."""
    reason = getattr(error, "reason", None) or error
    return str(getattr(reason, "strerror", None) or reason)


def _parse(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
