"""What one check found, and how checks are made: each with a deadline, none with a traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

from dist_erase.config.secrets import public
from dist_erase.data.source.attempts import within
from dist_erase.errors import UserError

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        check: what was looked at.
        state: fail = the run would stop or be wrong; warn = it may.
        found: in words, with the values.
        mend: what to do, as one sentence; "" where nothing is to be done.
        node: the host it was found on; "" = this one.
    """

    check: str
    state: State
    found: str
    mend: str = ""
    node: str = ""


def ok(check: str, found: str) -> Row:
    """Nothing to do."""
    return Row(check=check, state="ok", found=found)


def warn(check: str, found: str, mend: str) -> Row:
    """It may stop the run."""
    return Row(check=check, state="warn", found=found, mend=mend)


def fail(check: str, found: str, mend: str) -> Row:
    """It would stop the run."""
    return Row(check=check, state="fail", found=found, mend=mend)


@dataclass(frozen=True, kw_only=True)
class Check:
    """A family of rows.

    Attributes:
        name: stands in the row of a check that fails itself.
        look: gives the rows; may raise or hang.
        seconds: deadline.
    """

    name: str
    look: Callable[[], Iterable[Row]]
    seconds: float = 6.0


def rows_of(checks: Sequence[Check]) -> Iterator[Row]:
    """The rows of all checks in their order; they are made at the same time."""
    with ThreadPoolExecutor(max(1, len(checks))) as threads:
        for rows in threads.map(_rows, checks):
            yield from (_shown(row) for row in rows)


def _rows(check: Check) -> list[Row]:
    try:
        return within(check.seconds, lambda: list(check.look()))
    except TimeoutError:
        found = f"no answer within {check.seconds:g} s"
        return [fail(check.name, found, "Look at the disk, the network or the load there.")]
    except UserError as error:
        return [fail(check.name, f"{error.where}: {error.problem}", error.mend)]
    except OSError as error:
        at = f"{error.filename}: " if error.filename else ""
        return [fail(check.name, f"{at}{error.strerror or error}", "Make it accessible.")]
    except Exception as error:  # noqa: BLE001  # a check that fails is a row, whatever it met
        found = f"cannot be looked at ({type(error).__name__}: {error})"
        return [fail(check.name, found, "Look at it by hand.")]


def _shown(row: Row) -> Row:
    """Without logins and signatures, wherever the words come from."""
    return replace(row, found=public(row.found), mend=public(row.mend))
