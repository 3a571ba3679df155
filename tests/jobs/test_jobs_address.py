"""Addresses of clusters: what is taken, what is refused, and what is said where nobody answers."""

import socket
import threading

import pytest
from support.web import web_server

from dist_erase.config.launcher import KuberayLauncher, Launcher
from dist_erase.errors import UserError
from dist_erase.orchestration.jobs.address import connect, dashboard


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://head:8265", "http://head:8265"),
        ("head", "http://head:8265"),
        ("head:9000", "http://head:9000"),
        ("https://ray.example.com:443/team/", "https://ray.example.com:443/team"),
        ("http://[fd00::1]:8265", "http://[fd00::1]:8265"),
    ],
)
def test_an_address_becomes_a_url(given, url):
    assert dashboard(given, Launcher()) == url
    assert dashboard(None, Launcher(address=given)) == url


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "--address: is not given."),
        ("ray://head:10001", "is no address of a Ray dashboard"),
        ("http://me:hunter2@head:8265", "comes with a name or password"),
        ("head:82650", "head:82650: is no address of a Ray dashboard"),
        ("head:abc", "head:abc: is no address of a Ray dashboard"),
        ("http://[fd00::1:8265", "is no address of a Ray dashboard"),
    ],
)
def test_another_address_is_refused(given, said):
    with pytest.raises(UserError) as caught:
        dashboard(given, Launcher())
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_where_nobody_answers_the_launcher_knows_the_way():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    launcher = KuberayLauncher(kind="kuberay", namespace="ml", cluster="mine")
    with pytest.raises(UserError) as caught:
        connect(url, launcher, print)
    assert "no Ray dashboard answers there (" in str(caught.value)
    assert "kubectl --namespace ml port-forward service/mine-head-svc 8265:8265" in str(
        caught.value
    )


def test_another_server_is_no_ray():
    with web_server() as web, pytest.raises(UserError) as caught:
        connect(web.url, Launcher(), print)
    assert "is no Ray that takes jobs" in str(caught.value)


def test_a_server_that_speaks_no_http_is_no_ray():
    """Of ssh, say; Ray's own port 6379 is another."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with server.accept()[0] as caller:
                caller.sendall(b"SSH-2.0-x\r\n")
                caller.recv(1 << 16)  # else closing would reset what was sent

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(UserError) as caught:
            connect(f"http://127.0.0.1:{server.getsockname()[1]}", Launcher(), print)
        thread.join()
    assert "no Ray dashboard answers there (its answer is no HTTP: 'SSH-2.0-x" in str(caught.value)
    assert "Open the way to its port 8265" in str(caught.value)
