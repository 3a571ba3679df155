"""Addresses that a run listens on, and those that it talks to."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

from dist_erase.config.run import ObserveConfig
from dist_erase.observability.asking import get
from dist_erase.observability.web_config import load_web_config
from dist_erase.orchestration.doctor.needs import Config
from dist_erase.orchestration.doctor.row import Row, fail, ok, warn

_AGENT = "dist-erase-doctor"
_MASTER_PORT = 29500  # what `deepspeed` and torchrun take unless told otherwise


def check_ports(config: Config | None) -> Iterator[Row]:
    """Whether the metrics address can be had, and the launchers' port is free."""
    if config is not None:
        bind, port = config.observe.bind, config.observe.port
        problem = _cannot_listen(bind, port)
        at = f"{bind} port {port or 'of the system’s choice'}"
        if problem:
            mend = "Set observe.bind to an address of this machine and observe.port to a free port."
            yield fail("metrics address", f"cannot listen on {at}: {problem}", mend)
        else:
            yield ok("metrics address", f"{at} is free")
    problem = _cannot_listen("0.0.0.0", _MASTER_PORT)
    if problem:
        yield warn(
            "launcher port",
            f"port {_MASTER_PORT}, which deepspeed and torchrun take by default: {problem}",
            "Give another one to those launchers: --master_port 29511. Ray finds its own.",
        )


def check_host_name() -> Iterator[Row]:
    """Gloo and NCCL listen on the address that this machine's name stands for."""
    name, address = socket.gethostname(), own_address()
    if address:
        yield ok("host name", f"{name} is {address}")
        return
    yield fail(
        "host name",
        f"{name} has no address",
        f"Add {name} to /etc/hosts, or set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME.",
    )


def own_address() -> str:
    """What this machine's name stands for; "" if nothing."""
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return ""


def check_services(config: Config | None) -> Iterator[Row]:
    """Prometheus, Grafana and the Pushgateway, where settings name them; the TLS file."""
    if config is not None and config.observe.web_config is not None:
        load_web_config(config.observe.web_config)
        yield ok("observe.web_config", f"{config.observe.web_config} is understood")
    if config is not None and config.observe.pushgateway is not None:
        yield _answers("Pushgateway", config.observe.pushgateway, "/-/ready", "observe.pushgateway")
    # What Ray's dashboard is told, too.
    for name, variable, path in (
        ("Prometheus", "RAY_PROMETHEUS_HOST", "/-/ready"),
        ("Grafana", "RAY_GRAFANA_HOST", "/api/health"),
    ):
        if os.environ.get(variable):
            yield _answers(name, os.environ[variable], path, variable)
    if config is not None and _is_open(config.observe):
        yield warn(
            "metrics address is open",
            f"observe.bind={config.observe.bind} shows metrics to everyone on the network",
            "Set observe.web_config (TLS, passwords), or keep the network closed.",
        )


def _is_open(observe: ObserveConfig) -> bool:
    return observe.web_config is None and observe.bind not in ("127.0.0.1", "localhost", "::1")


def _answers(name: str, url: str, path: str, setting: str) -> Row:
    address = url.rstrip("/") if "://" in url else f"http://{url.rstrip('/')}"
    try:
        get(f"{address}{path}", _AGENT)
    except (OSError, ValueError) as error:
        mend = f"Start it, or mend {setting}; a run goes on without."
        return warn(name, f"{address} does not answer ({error})", mend)
    return ok(name, f"{address} is ready")


def _cannot_listen(bind: str, port: int) -> str | None:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
        except OSError as error:
            return error.strerror or str(error)
    return None
