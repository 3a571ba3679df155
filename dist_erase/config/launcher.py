"""A launcher file: how jobs reach a kind of Ray cluster, and what they bring along."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError, field_validator

from dist_erase.config.explain import describe
from dist_erase.config.load import read_yaml
from dist_erase.config.nearest import did_you_mean
from dist_erase.config.secrets import has_login, secret_in
from dist_erase.config.section import Section
from dist_erase.config.sizes import SIZE
from dist_erase.errors import UserError


class EntrypointConfig(Section):
    """What the driver itself holds while it runs; with nothing it runs on the head node."""

    cpus: float = Field(0.0, ge=0, description="CPUs.")
    gpus: float = Field(0.0, ge=0, description="GPUs.")
    memory: str | None = Field(None, pattern=SIZE, description="Memory, for instance 8GB.")
    resources: dict[str, float] = Field(
        default_factory=dict, description="Custom resources by Ray's names."
    )


class SecretsConfig(Section):
    """What must be there on the cluster, by name; values never travel with a job."""

    env: list[str] = Field(
        default_factory=list, description="Environment variables of the nodes, such as HF_TOKEN."
    )
    files: list[str] = Field(
        default_factory=list, description="Files on the nodes, such as /etc/secrets/s3."
    )

    @field_validator("env")
    @classmethod
    def env_holds_names(cls, value: list[str]) -> list[str]:
        """A `NAME=value` would show the value to everyone who reads this file."""
        for entry in value:
            if not entry.isidentifier():
                raise ValueError(
                    f"env lists names only, and {entry.partition('=')[0]!r} comes with more; "
                    "remove the rest"
                )
        return value


class Launcher(Section):
    """What every kind of cluster has."""

    reach: ClassVar[str] = "Open the way to its port 8265, or mend the address."
    token: ClassVar[str] = "`ray get-auth-token` on the head node shows the cluster's token."

    address: str | None = Field(
        None, description="http://HOST:8265, the dashboard of the head node; --address goes first."
    )
    verify: bool | str = Field(
        True, description="Check the certificate of an https address; or the file of its authority."
    )
    code: Literal["package", "image"] = Field(
        "package",
        description="package: dist_erase travels with the job; image: the nodes have the command.",
    )
    python: str = Field("python", description="The interpreter on the head node.")
    shared_disk: bool = Field(
        False,
        description="The nodes see this machine's files under the same paths: relative paths are "
        "made absolute, and nothing but the code has to travel.",
    )
    include: list[str] = Field(
        default_factory=list, description="More files and folders to bring, below this folder."
    )
    overrides: list[str] = Field(
        default_factory=list, description="KEY=VALUE for every run there, before the command's own."
    )
    entrypoint: EntrypointConfig = Field(default_factory=EntrypointConfig)
    env: dict[str, str] = Field(
        default_factory=dict,
        description="Environment variables of the job, which everyone at the dashboard can read.",
    )
    secrets: SecretsConfig = Field(default_factory=SecretsConfig)

    @field_validator("env")
    @classmethod
    def env_holds_no_secret(cls, value: dict[str, str]) -> dict[str, str]:
        """Ray keeps a job's environment, and shows it."""
        found = secret_in(value)
        if found:
            raise ValueError(
                f"{found} looks like a credential, and everyone at the dashboard can read it; set "
                "it on the nodes, and name it in secrets.env"
            )
        return value

    @field_validator("address")
    @classmethod
    def address_holds_no_login(cls, value: str | None) -> str | None:
        """A password in a file is passed on."""
        if value is not None and has_login(value):
            raise ValueError("address holds a login; remove it")
        return value


class LocalLauncher(Launcher):
    """A cluster on this machine, as `ray start --head` makes it."""

    reach: ClassVar[str] = (
        "Start one with `ray start --head --include-dashboard=true`, or mend the address."
    )
    token: ClassVar[str] = "`ray get-auth-token --generate` makes one, before `ray start`."

    kind: Literal["local"]
    shared_disk: bool = True


class KuberayLauncher(Launcher):
    """A RayCluster on Kubernetes."""

    kind: Literal["kuberay"]
    namespace: str = Field("default", description="Namespace of the RayCluster.")
    cluster: str = Field(description="Name of the RayCluster.")


class VmLauncher(Launcher):
    """Machines that `ray up` or you yourself started."""

    reach: ClassVar[str] = "`ray dashboard CLUSTER.yaml` opens a way to it; then mend the address."

    kind: Literal["vm"]


class SlurmLauncher(Launcher):
    """A cluster inside a SLURM allocation."""

    reach: ClassVar[str] = (
        "Is the allocation still running (squeue)? From outside: ssh -L 8265:NODE:8265 LOGIN."
    )
    token: ClassVar[str] = (
        "Set RAY_AUTH_TOKEN_PATH to the file `token` in the folder that ray.sbatch prints."
    )

    kind: Literal["slurm"]
    shared_disk: bool = True


KINDS: dict[str, type[Launcher]] = {
    "local": LocalLauncher,
    "kuberay": KuberayLauncher,
    "vm": VmLauncher,
    "slurm": SlurmLauncher,
}


def load_launcher(path: Path) -> Launcher:
    """Reads a launcher file.

    Raises:
        UserError: a missing or malformed file, or one that does not fit its `kind`.
    """
    raw = read_yaml(path)
    kind = raw.get("kind")
    if kind not in KINDS:
        raise UserError(
            f"kind ({path})",
            "is not given." if kind is None else f"is {kind!r}.",
            f"{did_you_mean(str(kind), KINDS)}It is one of {', '.join(KINDS)}.",
        )
    try:
        return KINDS[kind].model_validate(raw)
    except ValidationError as error:
        raise _refusal(error, raw, path, KINDS[kind]) from error


def ways_in(launcher: Launcher) -> tuple[str, str]:
    """How to reach its dashboard, and where its token is; each a sentence for people."""
    if isinstance(launcher, KuberayLauncher):
        at = f"kubectl --namespace {launcher.namespace}"
        port = f"{at} port-forward service/{launcher.cluster}-head-svc 8265:8265"
        secret = f"{at} get secret {launcher.cluster} --output jsonpath={{.data.auth_token}}"
        return (
            f"`{port}` opens a way to it at http://127.0.0.1:8265.",
            f"`{secret} | base64 --decode` writes it; keep it in a file that only you can read.",
        )
    return launcher.reach, launcher.token


def _refusal(
    error: ValidationError, raw: dict[str, Any], path: Path, kind: type[Launcher]
) -> UserError:
    problems = describe(error, raw, kind)
    if len(problems) == 1:
        ((key, text),) = problems.items()
        return UserError(f"{key} ({path})", text, "Mend it in the file.")
    lines = "".join(f"  {key}: {text}\n" for key, text in problems.items())
    return UserError(str(path), f"has {len(problems)} errors:\n{lines}", "Mend them in the file.")
