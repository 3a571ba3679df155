"""Several hosts on this machine: Linux network namespaces, each with an address of its own.

They share the file system, as the nodes of a cluster share the run folder, and the processors.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TOOLS = ("ip", "pdsh", "ssh", "ssh-keygen")
SSHD = "/usr/sbin/sshd"  # refuses to start by another name than its whole path
DEVICE = "eth0"  # in every namespace
_numbers = itertools.count()  # the kernel removes devices some time after their namespace


def not_permitted() -> str | None:
    """Why there can be no such hosts here; None = there can."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing or not os.path.exists(SSHD):
        return f"no {', '.join(missing) or SSHD}: apt install iproute2 pdsh openssh-server"
    name = f"probe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode != 0:
        return f"network namespaces are not permitted here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return None


class Host:
    """One of them."""

    def __init__(self, name: str, address: str, device: str) -> None:
        self.name = name
        self.address = address
        self._device = device  # this machine's end of the cable

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Starts a command there; standard output and error are one stream, unless told."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | options
        return subprocess.Popen(["ip", "netns", "exec", self.name, *words], text=True, **options)

    def cut(self) -> None:
        """Unplugs it: nothing goes in or out, and nobody is told."""
        _ip("link", "set", self._device, "down")

    def pids(self) -> list[int]:
        """Every process there."""
        listed = _ip("netns", "pids", self.name)
        return [int(line) for line in listed.split()]

    def kill(self) -> None:
        """Ends every process there, as a power cut does."""
        for _ in range(50):  # what forks meanwhile is met in the next round
            pids = self.pids()
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            if not pids:
                return
            time.sleep(0.05)


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """So many hosts on one wire, which this machine is on too; all ends with the block."""
    tag = f"{os.getpid() % 100_000}-{next(_numbers)}"
    network = f"10.{random.randrange(64, 250)}.{random.randrange(1, 250)}"
    wire = f"wire{tag}"
    made: list[Host] = []
    try:
        _ip("link", "add", wire, "type", "bridge")
        _ip("address", "add", f"{network}.254/24", "dev", wire)
        _ip("link", "set", wire, "up")
        for number in range(1, count + 1):
            name, device, far = f"h{number}-{tag}", f"v{number}-{tag}", f"w{number}-{tag}"
            address = f"{network}.{number}"
            _ip("netns", "add", name)
            made.append(Host(name, address, device))
            _ip("link", "add", device, "type", "veth", "peer", "name", far)
            _ip("link", "set", device, "master", wire, "up")
            _ip("link", "set", far, "netns", name)
            inside = ["netns", "exec", name, "ip"]
            _ip(*inside, "link", "set", far, "name", DEVICE)
            _ip(*inside, "address", "add", f"{address}/24", "dev", DEVICE)
            _ip(*inside, "link", "set", DEVICE, "up")
            _ip(*inside, "link", "set", "lo", "up")
        yield made
    finally:
        for host in made:
            host.kill()
            subprocess.run(["ip", "netns", "delete", host.name], check=False)
        subprocess.run(["ip", "link", "delete", wire], check=False)


@contextmanager
def ssh(served: Sequence[Host], folder: Path) -> Iterator[Path]:
    """A real sshd on each host; gives ssh's configuration file with the key to all of them."""
    folder.mkdir(mode=0o700)
    key, host_key = folder / "key", folder / "host_key"
    for path in (key, host_key):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
        subprocess.run(words, check=True)
    config = folder / "config"
    config.write_text(
        f"IdentityFile {key}\nIdentitiesOnly yes\nUser root\nStrictHostKeyChecking no\n"
        "UserKnownHostsFile /dev/null\nLogLevel ERROR\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    for host in served:
        options = {
            "HostKey": host_key,
            "ListenAddress": host.address,
            "AuthorizedKeysFile": key.with_suffix(".pub"),
            "StrictModes": "no",
            "UsePAM": "no",
            "PidFile": folder / f"{host.name}.pid",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        host.start(SSHD, "-D", "-f", "/dev/null", *words, stdout=subprocess.DEVNULL)
    for host in served:
        words = ["ssh", "-F", str(config), "-o", "ConnectTimeout=2", host.address, "true"]
        for _ in range(50):
            if subprocess.run(words, capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        else:
            raise AssertionError(f"no sshd answers on {host.name}")
    yield config  # `hosts` ends the servers


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout
