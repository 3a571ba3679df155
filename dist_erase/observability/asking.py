"""Metrics asked for over HTTP: passwords from ~/.netrc, certificates as Python trusts them."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterable
from http.client import HTTPException, HTTPResponse, IncompleteRead, InvalidURL

from dist_erase.observability.passwords import password
from dist_erase.observability.scrape import Scrape, merged, parse

_ANSWER_SECONDS = 10.0
_LARGEST_ANSWER = 64 * 2**20
_BROKE_OFF = "the answer broke off"
# Names from an address go to a terminal: no escape sequences in them.
_CONTROL = dict.fromkeys([*range(10), *range(11, 32), *range(127, 160)], "?")


def get(url: str, agent: str) -> str:
    """What a metrics address answers.

    Args:
        url: of the exporter, path included.
        agent: User-Agent, see `watchers`.

    Raises:
        OSError: there is no answer, none that can be trusted, or half of one.
        ValueError: this is no address, or what answers does not speak HTTP.
    """
    request = urllib.request.Request(url, headers={"User-Agent": agent})
    for name, value in password(url).items():  # for this host alone, not where it redirects to
        request.add_unredirected_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:
            content: bytes = answer.read(_LARGEST_ANSWER)
            # A read with a limit ends without an error where what was announced does not come.
            left = answer.length if isinstance(answer, HTTPResponse) else None
    except OSError:  # a closed connection is of both kinds
        raise
    except InvalidURL as error:
        raise ValueError(str(error)) from None
    except IncompleteRead:
        raise OSError(_BROKE_OFF) from None
    except HTTPException:  # its text is whatever was sent
        raise ValueError("what answers does not speak HTTP") from None
    if left:
        raise OSError(_BROKE_OFF)
    return content.decode("utf-8", "replace").translate(_CONTROL)


def read_addresses(urls: Iterable[str], agent: str) -> Scrape:
    """What the exporters of one run say together; those that do not answer are left out."""
    scrapes = []
    for url in urls:
        try:
            scrapes.append(parse(get(url, agent)))
        except (OSError, ValueError):
            continue
    return merged(scrapes)
