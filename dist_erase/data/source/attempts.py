"""Attempts at something remote: each has a deadline, what may pass is tried again, errors are told.

The libraries behind fsspec raise errors of their own kinds; they are told apart by HTTP status and
by the names of their classes, so that no optional library is imported here.
"""

from __future__ import annotations

import errno
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from dist_erase.config.secrets import public
from dist_erase.errors import UserError

T = TypeVar("T")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds; the pause is uniform below a doubling limit
_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_PASSING_ERRNO = frozenset(
    {errno.EIO, errno.EREMOTEIO, errno.EBUSY, errno.EAGAIN, errno.ENETUNREACH, errno.EHOSTUNREACH}
)
_PASSING_CLASSES = frozenset(
    {"ClientConnectionError", "ClientPayloadError"}  # aiohttp: https, gs
    | {"HTTPClientError", "ConnectionError", "IncompleteReadError"}  # botocore: s3
    | {"TransportError", "ChunkedEncodingError", "Timeout"}  # httpx, requests: hf, others
)
_LASTING_CLASSES = frozenset({"SSLError", "ClientSSLError", "UnsupportedProtocol"})


class ShortReadError(OSError):
    """Fewer bytes came than the server has."""


def attempt(call: Callable[[], T], name: str, *, timeout: float, retries: int) -> T:
    """Calls until it works; pauses grow exponentially with full jitter.

    Args:
        call: raises TimeoutError by itself after `timeout`.
        name: the shard, named in the error without login and query string.
        timeout: seconds of one attempt, named in the error.
        retries: further calls after a failure that may pass.

    Raises:
        OSError: the last failure, or the first that will not pass.
    """
    retrying = Retrying(
        stop=stop_after_attempt(retries + 1),
        wait=wait_random_exponential(multiplier=_FIRST_PAUSE, max=_LONGEST_PAUSE),
        retry=retry_if_exception(may_pass),
        reraise=True,
    )
    try:
        return retrying(call)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001  # fsspec's libraries have no common base class
        made = retrying.statistics.get("attempt_number", 1)
        # Not `from error`: a traceback would show what `public` takes away.
        raise _told(error, name, timeout, made) from None


def within(seconds: float, call: Callable[[], T]) -> T:
    """Calls something that may hang in a thread of its own; TimeoutError after `seconds`.

    A thread that hangs is left behind: nothing can end it, and a daemon keeps no process alive.
    """
    answers: queue.Queue[tuple[T, None] | tuple[None, BaseException]] = queue.Queue()

    def work() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
            answers.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        value, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer in {seconds:g} s") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]  # no error, so it is a T


def may_pass(error: BaseException) -> bool:
    """Whether the same call may work a little later."""
    if _names(error) & _LASTING_CLASSES or isinstance(error, UserError):
        return False
    if _connection_failed(error):
        return True
    status = http_status(error)
    if status is not None:
        return status in _PASSING_STATUS
    if isinstance(error, FileNotFoundError | PermissionError):
        return False
    return isinstance(error, OSError) and error.errno in _PASSING_ERRNO


def http_status(error: BaseException) -> int | None:
    """The HTTP status that an error, or the error behind it, carries."""
    for found in _chain(error):
        if _connection_failed(found):  # aiohttp gives a truncated answer the status 400
            return None
        response = getattr(found, "response", None)
        if isinstance(response, dict):  # botocore
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            status = getattr(response, "status_code", None) or getattr(found, "status", None)
        status = status or getattr(found, "code", None)
        if isinstance(status, int) and 100 <= status < 600:
            return status
    return None


def _connection_failed(error: BaseException) -> bool:
    kinds = TimeoutError | ConnectionError | ShortReadError | socket.gaierror
    return isinstance(error, kinds) or bool(_names(error) & _PASSING_CLASSES)


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _told(error: Exception, name: str, timeout: float, made: int) -> OSError:
    """The same failure as an OSError of the fitting kind, with the shard's name and no secret."""
    shown = public(name)
    times = f" ({made} attempts)" if made > 1 else ""
    status = http_status(error)
    if isinstance(error, TimeoutError):
        return TimeoutError(errno.ETIMEDOUT, f"no answer within {timeout:g} s{times}", shown)
    if status == 404 or isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "no such file on the server", shown)
    if status in (401, 403) or isinstance(error, PermissionError):
        code = f" (HTTP {status})" if status else ""
        return PermissionError(errno.EACCES, f"the server refuses access{code}", shown)
    if status == 416:
        return OSError(errno.EINVAL, "the server has no such range of bytes (HTTP 416)", shown)
    if status is not None:
        return OSError(errno.EIO, f"the server answered with HTTP {status}{times}", shown)
    text = public(str(error.strerror if isinstance(error, OSError) and error.errno else error))
    kind = "" if type(error) in (OSError, ShortReadError) else f"{type(error).__name__}: "
    return OSError(errno.EIO, f"{kind}{text}{times}", shown)
