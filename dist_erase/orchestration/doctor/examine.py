"""All checks in the order of their cost: what is cheap is told before anything heavy is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dist_erase.config.load import kind_of, load_config
from dist_erase.config.run import PretrainConfig, RunConfig
from dist_erase.errors import UserError
from dist_erase.orchestration.doctor import leftovers, ports, ray_address
from dist_erase.orchestration.doctor.needs import Config
from dist_erase.orchestration.doctor.node import machine_checks
from dist_erase.orchestration.doctor.probes import Probe, asked_of
from dist_erase.orchestration.doctor.row import Check, Row, fail, ok, rows_of
from dist_erase.orchestration.doctor.shards import shard_checks
from dist_erase.orchestration.paths import absolute

_HERE = "dist_erase.orchestration.doctor"
_PROBE_SECONDS = 150.0  # more than its checks may take together


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows that come together."""

    title: str
    rows: Iterator[Row]


def examine(
    path: Path | None, overrides: Sequence[str], *, address: str | None = None
) -> Iterator[Part]:
    """Every part, made while it is asked for; ends what it started when it is closed.

    Args:
        path: configuration of a run or of pretraining; None = only what every run needs.
        overrides: KEY=VALUE.
        address: Ray cluster to look at instead of the configuration's.
    """
    config, first = _configuration(path, overrides)
    yield Part(title="this machine", rows=_machine(config, first, address))
    if config is not None:
        yield Part(title="shards", rows=rows_of(shard_checks(config)))
    started: list[Probe] = []
    try:
        started.append(_torch_probe(config))
        found = ray_address.cluster_address(config, address)
        if found is not None and ray_address.silence_at(found) is not None:
            found = None  # said already; Ray would try for minutes
        if found is not None:
            started.append(_ray_probe(config, found))
        yield Part(title="devices and model", rows=started[0].rows())
        if found is not None:
            yield Part(title=f"Ray cluster {found}", rows=started[1].rows())
    finally:
        for probe in started:
            probe.close()


def _machine(config: Config | None, first: Row | None, address: str | None) -> Iterator[Row]:
    if first is not None:
        yield first
    yield from rows_of(
        [
            *machine_checks(config),
            _check("ports", lambda: ports.check_ports(config)),
            _check("host name", ports.check_host_name),
            _check("services", lambda: ports.check_services(config), seconds=12.0),
            _check("noted Ray cluster", leftovers.check_noted_cluster),
            _check("ray.address", lambda: ray_address.check_address(config, address)),
        ]
    )


def _check(name: str, look: Callable[[], Iterator[Row]], seconds: float = 6.0) -> Check:
    return Check(name=name, look=look, seconds=seconds)


def _configuration(path: Path | None, overrides: Sequence[str]) -> tuple[Config | None, Row | None]:
    """The configuration with absolute paths, and the row about it; neither where none is given."""
    if path is None:
        return None, None
    try:
        config: Config
        if kind_of(path) is PretrainConfig:
            config = absolute(load_config(path, overrides, PretrainConfig).config)
        else:
            config = absolute(load_config(path, overrides, RunConfig).config)
    except UserError as error:
        return None, fail("configuration", f"{error.where}: {error.problem}", error.mend)
    return config, ok("configuration", f"{path} is valid")


def _torch_probe(config: Config | None) -> Probe:
    return Probe(
        f"{_HERE}.probe_torch",
        "devices and model",
        asked_of(config),
        seconds=_PROBE_SECONDS,
    )


def _ray_probe(config: Config | None, address: str) -> Probe:
    return Probe(
        f"{_HERE}.probe_ray",
        "Ray cluster",
        asked_of(config, address=address),
        seconds=_PROBE_SECONDS,
        # Ray would connect elsewhere, and raise instead of asking where RAY_ADDRESS is.
        environment={k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"},
    )
