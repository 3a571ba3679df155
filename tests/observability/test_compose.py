"""The compose file, as far as it can be judged without Docker."""

from pathlib import Path

import pytest
import yaml

MONITORING = Path(__file__).parents[2] / "monitoring"
COMPOSE = yaml.safe_load((MONITORING / "compose.yml").read_text())
MOUNTS = [
    (name, mount)
    for name, service in COMPOSE["services"].items()
    for mount in service["volumes"]
    if not isinstance(mount, str) or mount.partition(":")[0] not in COMPOSE["volumes"]
]


@pytest.mark.parametrize(("service", "mount"), MOUNTS)
def test_no_folder_of_the_host_is_made_or_written_by_docker(service, mount):
    assert mount["type"] == "bind"
    assert mount["read_only"] is True
    assert mount["bind"]["create_host_path"] is False
    source = Path(mount["source"])
    if mount["source"] not in ("../runs", "/tmp/ray"):  # made by whoever starts it
        assert (MONITORING / source).is_dir()
