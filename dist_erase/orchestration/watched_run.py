"""What `RUN|URL` of `dist-erase watch` names: a run folder, or a run's metrics address."""

from __future__ import annotations

import difflib
import time
from pathlib import Path
from urllib.parse import urlsplit

from dist_erase.errors import UserError
from dist_erase.observability.asking import read_addresses
from dist_erase.observability.pulse import Pulse
from dist_erase.observability.rows import time_of_day
from dist_erase.observability.scrape import Scrape, read_folder
from dist_erase.observability.sources import FolderSource, Update, UrlSource
from dist_erase.observability.state import RunState
from dist_erase.observability.watchers import LOOKER
from dist_erase.orchestration.ending import Ending, ending_of_code, read_ending
from dist_erase.orchestration.run_folder import CONFIG, METRICS, ROWS
from dist_erase.orchestration.watch import Watched
from dist_erase.orchestration.watching import addresses, read_goals

_RUNS = Path("runs")
# Processes write a sign of life every second; a shared file system may show it late.
_LATE_SECONDS = 15.0


def find(name: str) -> Watched:
    """The run that is meant; nothing is read of it yet.

    Args:
        name: a run folder, the name of one in `runs/`, or the URL of a metrics address.

    Raises:
        UserError: there is no such run folder, or the URL is none.
    """
    if "://" in name:
        return RunAtAddress(name)
    for folder in (Path(name), _RUNS / name):
        if (folder / CONFIG).exists():
            return RunInFolder(folder)
    raise UserError(name, f"is no run folder ({CONFIG} is missing).", _mend(name))


class RunInFolder:
    """A run on a file system that this machine sees."""

    poll_seconds = 0.5

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self.state = RunState(self._folder.name, read_goals(self._folder))
        self.pulse = Pulse()
        self._source = FolderSource(self._folder / ROWS, self._look)
        self._newest = 0.0  # unix time of the newest sign of life
        self._end: Ending | None = None

    def poll(self) -> Update:
        """What is new."""
        self._end = read_ending(self._folder)  # first: the last rows were written before it
        update = self._source.poll()
        signs = [row["time"] for row in update.rows if row.get("time")]
        if update.facts is not None:
            signs.append(update.facts.heartbeat or 0.0)
            self.state.address = next(iter(addresses(self._folder)), None)
        self._newest = max([self._newest, *signs])
        self.pulse.hear(self._newest or None)
        return update

    def _look(self) -> Scrape:
        """What the processes have left in the folder, or on their own nodes (per_node)."""
        left = self._folder / METRICS
        if left.is_dir():
            return read_folder(left)
        return read_addresses(addresses(self._folder), LOOKER)

    def silence(self) -> str | None:
        """In words that it gives no sign of life, and since when; None = it does."""
        if self.pulse.since is None:
            return "no sign of life yet"
        if self.pulse.silent_seconds < _LATE_SECONDS:
            return None
        return f"no sign of life since {_moment(self.pulse.since)}, the run may have been killed"

    def ending(self) -> Ending | None:
        """How it ended; None while it is at work, or if nobody could say."""
        return self._end


class RunAtAddress:
    """A run behind the address of its exporter."""

    poll_seconds = 2.0

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(url, "is no http address.", "Write it as http://HOST:PORT/metrics.")
        if parts.username is not None:
            raise UserError(
                parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(),
                "comes with a name or password, which the list of processes shows to everybody.",
                f"Write them into ~/.netrc: machine {parts.hostname} login NAME password PASSWORD.",
            )
        if parts.path in ("", "/"):
            url = parts._replace(path="/metrics").geturl()
        self.state = RunState(parts.netloc)
        self.state.address = url
        self.pulse = Pulse()
        self._source = UrlSource(url)
        self._exit_code: int | None = None
        self._why: str | None = None

    def poll(self) -> Update:
        """What is new."""
        update = self._source.poll()
        self._why = update.silent
        if update.facts is not None:
            self.pulse.hear(time.time())
            self.state.run = update.facts.run
            self._exit_code = update.facts.exit_code
        return update

    def silence(self) -> str | None:
        """In words that it does not answer, and since when; None = it does."""
        if self._why is None:
            return None
        since = self.pulse.since
        if since is None:
            return f"no answer yet ({self._why})"
        return f"no answer since {_moment(since)} ({self._why}), the run may have ended"

    def ending(self) -> Ending | None:
        """How it ended; None while it is at work, or if nobody could say."""
        if self._exit_code is None:
            return None
        return ending_of_code(self._exit_code)


def _moment(at: float) -> str:
    """Time of day, with the date where it is not today's."""
    today = time.strftime("%Y-%m-%d")
    date = time.strftime("%Y-%m-%d", time.localtime(at))
    return time_of_day({"time": at}) if date == today else f"{date} {time_of_day({'time': at})}"


def _mend(name: str) -> str:
    host, _, port = name.partition("/")[0].rpartition(":")
    if host and port.isdecimal():
        return f"If it is a metrics address, write http://{name.partition('/')[0]}/metrics."
    runs = sorted(path.parent.name for path in _RUNS.glob(f"*/{CONFIG}"))
    near = difflib.get_close_matches(Path(name).name, runs, n=3) or runs[:5]
    listed = f" (in {_RUNS}/ there are {', '.join(near)})" if near else ""
    return f"Name a folder like runs/NAME, a name in runs/{listed}, or a metrics address."
