"""A metrics address that is taken is refused before a run costs anything."""

import socket

import pytest

from dist_erase.errors import UserError
from dist_erase.observability.server import check_address


def test_an_address_that_is_free_stays_free():
    check_address("127.0.0.1", 0)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    check_address("127.0.0.1", port)
    check_address("127.0.0.1", port)


def test_one_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1 port {port}"):
            check_address("127.0.0.1", port)
