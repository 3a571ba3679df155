"""TLS and passwords of the metrics address, asked for by real clients."""

from __future__ import annotations

import base64
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

import bcrypt
import pytest
import yaml

from dist_erase.errors import UserError
from dist_erase.observability.exporter import Exposure, RunExporter
from dist_erase.observability.web_config import WebConfig, load_web_config

PASSWORD = "a long passphrase: of words"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A self-signed certificate for 127.0.0.1 and its key, made by openssl."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test"
    command += (
        f" -addext subjectAltName=IP:127.0.0.1 -keyout {folder}/key.pem -out {folder}/crt.pem"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return folder


def write(folder, **content):
    path = folder / "web.yml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def users(rounds=4):
    return {"prometheus": bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(rounds)).decode()}


def header(name, password):
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def get(url, *, context=None, authorization=None):
    request = urllib.request.Request(url)
    if authorization:
        request.add_header("Authorization", authorization)
    with urllib.request.urlopen(request, timeout=10, context=context) as response:
        return response.read().decode()


@pytest.fixture
def start(tmp_path):
    started = []

    def one(web_config):
        exposure = Exposure(run="r", discovery=tmp_path / ".sd", web_config=web_config)
        started.append(RunExporter(tmp_path / "metrics", exposure))
        return started[-1]

    yield one
    for exporter in started:
        exporter.close()


def test_https_with_a_password_answers_only_who_knows_both(start, certificates):
    tls = {"cert_file": "crt.pem", "key_file": "key.pem"}
    exporter = start(write(certificates, tls_server_config=tls, basic_auth_users=users()))
    assert exporter.url.startswith("https://")
    trusted = ssl.create_default_context(cafile=str(certificates / "crt.pem"))
    right = header("prometheus", PASSWORD)
    for _ in range(2):  # the second time from memory
        text = get(exporter.url, context=trusted, authorization=right)
        assert "dist_erase_heartbeat_timestamp_seconds" in text
    wrong = [None, header("prometheus", "guess"), header("x", PASSWORD), "Basic !", "Bearer abc"]
    wrong += [header("prometheus", PASSWORD * 9)]  # longer than bcrypt takes
    for path in ("/metrics", "/targets"):
        for one in wrong:
            with pytest.raises(urllib.error.HTTPError, match="401"):
                get(f"https://{exporter.address}{path}", context=trusted, authorization=one)
    with pytest.raises(OSError, match=r"reset|EOF|closed|status|Remote"):
        get(f"http://{exporter.address}/metrics", authorization=right)
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        get(exporter.url, context=ssl.create_default_context(), authorization=right)
    assert exporter.targets()[0]["labels"]["__scheme__"] == "https"


def test_a_client_that_says_nothing_keeps_nobody_out(start, certificates):
    tls = {"cert_file": "crt.pem", "key_file": "key.pem"}
    exporter = start(write(certificates, tls_server_config=tls))
    host, _, port = exporter.address.rpartition(":")
    trusted = ssl.create_default_context(cafile=str(certificates / "crt.pem"))
    with socket.create_connection((host, int(port))):
        assert "dist_erase" in get(exporter.url, context=trusted)


def test_clients_may_have_to_show_a_certificate(start, certificates):
    tls = {
        "cert_file": "crt.pem",
        "key_file": "key.pem",
        "client_auth_type": "RequireAndVerifyClientCert",
        "client_ca_file": "crt.pem",
    }
    exporter = start(write(certificates, tls_server_config=tls))
    context = ssl.create_default_context(cafile=str(certificates / "crt.pem"))
    with pytest.raises(OSError, match=r"(?i)certificate|closed|reset|EOF"):
        get(exporter.url, context=context)
    context.load_cert_chain(certificates / "crt.pem", certificates / "key.pem")
    assert "dist_erase" in get(exporter.url, context=context)


def test_a_password_is_hashed_once():
    config = WebConfig(None, users(rounds=12))
    began = time.monotonic()
    assert config.allows(header("prometheus", PASSWORD))
    first = time.monotonic() - began
    began = time.monotonic()
    for _ in range(20):
        assert config.allows(header("prometheus", PASSWORD))
    assert (time.monotonic() - began) / 20 < first / 10


def seconds(config, name, password):
    began = time.thread_time()
    config.allows(header(name, password))
    return time.thread_time() - began


def test_an_unknown_name_takes_as_long_as_a_known_one():
    config = WebConfig(None, users(rounds=12))
    known = min(seconds(config, "prometheus", f"guess {i}") for i in range(3))
    unknown = min(seconds(config, f"x{i}", "guess") for i in range(3))
    assert known / 2 < unknown < known * 2


def test_who_is_known_does_not_wait_for_those_who_guess():
    config = WebConfig(None, users())
    assert config.allows(header("prometheus", PASSWORD))
    with config._lock:  # as while a guess is hashed
        answered = []
        asks = threading.Thread(
            target=lambda: answered.append(config.allows(header("prometheus", PASSWORD))),
            daemon=True,
        )
        asks.start()
        asks.join(5)
    assert answered == [True]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("tls_server_config: {cert_file: a.pem, key_file: b.pem}", "tls_server_config: No such"),
        ("tls_server_config: {cert_file: a.pem}", "tls_server_config.key_file: Field required"),
        ("http_server_config: {http2: true}", "http_server_config: Extra inputs"),
        ("basic_auth_users: {eve: secret}", "basic_auth_users: the password of eve is no bcrypt"),
        ("basic_auth_users: [", "while parsing a flow"),
        (
            "tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}",
            "client_ca_file and RequireAndVerifyClientCert belong together",
        ),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path, content, problem):
    path = tmp_path / "web.yml"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        load_web_config(str(path))
    assert str(caught.value).startswith(f"observe.web_config: {path} cannot be used (")
    assert problem in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        load_web_config(str(tmp_path / "none.yml"))
