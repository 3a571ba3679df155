"""What DeepSpeed would write into command lines and logs, launch.py looks through first."""

import os
import signal
import sys
from pathlib import Path

import pytest

from dist_erase.orchestration import deepspeed_launch
from dist_erase.orchestration.deepspeed_launch import main

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
VALUE = "hf-abcdefgh"
EXAMPLE = QUICKSTART.parents[1] / "launchers" / "deepspeed" / "env.example"


@pytest.fixture
def launch(tmp_path, monkeypatch, capfd):
    """Launches over hosts, with a `deepspeed` that only says that it was started."""
    home, here, tools = (tmp_path / name for name in ("home", "here", "tools"))
    for folder in (home, here, tools):
        folder.mkdir()
    (tools / "deepspeed").write_text("#!/bin/sh\necho started\n")
    (tools / "deepspeed").chmod(0o755)
    (here / "hosts").write_text("one slots=1\ntwo slots=1\n")
    # It starts the `deepspeed` beside its own Python.
    monkeypatch.setattr(sys, "executable", str(tools / "python"))
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("DS_ENV_FILE", raising=False)
    monkeypatch.chdir(here)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def go(*words):
        run = ["--config", str(QUICKSTART), f"run.dir={tmp_path}", "run.name=r"]
        code = main(tmp_path / "unlearn.py", [*(words or ("--hostfile", "hosts")), *run])
        out, err = capfd.readouterr()
        assert VALUE not in out + err
        assert ("started" in out) is (code == 0)
        return code, err

    yield go
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("line", [f"HF_TOKEN={VALUE}", f"AWS_SECRET_ACCESS_KEY = '{VALUE}'"])
@pytest.mark.parametrize("where", ["home", "here", "named"])
def test_a_credential_in_each_file_that_deepspeed_reads(launch, tmp_path, monkeypatch, line, where):
    path = tmp_path / where / ".deepspeed_env"
    if where == "named":
        path = tmp_path / "variables"
        monkeypatch.setenv("DS_ENV_FILE", str(path))
    path.write_text(f"NCCL_DEBUG=WARN\n{line}\n")
    code, said = launch()
    assert code == 2
    shown = ".deepspeed_env" if where == "here" else str(path)
    assert said.startswith(f"error: {shown}, line 2: {line.split('=')[0].strip()} looks like a cr")
    assert "sign in on every host instead (~/.aws" in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLFLOW_TRACKING_TOKEN", VALUE),
        ("MLFLOW_TRACKING_URI", f"https://me:{VALUE}@mlflow.example"),
    ],
)
def test_a_credential_among_the_variables_that_deepspeed_exports(launch, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    code, said = launch()
    assert code == 2
    assert said.startswith(f"error: {name}: looks like a credential, and DeepSpeed writes it into")


def test_what_is_no_credential_or_not_exported(launch, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", VALUE)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    (tmp_path / "home" / ".deepspeed_env").write_text(
        f"{EXAMPLE.read_text()}TOKENIZERS_PARALLELISM=false\nHF_TOKEN_PATH=/shared/token\n"
        "GOOGLE_APPLICATION_CREDENTIALS=/shared/key.json\nSSH_AUTH_SOCK=/run/agent\n"
    )
    assert launch()[0] == 0


@pytest.mark.parametrize("words", [("--num_accelerators", "2"), ("-H", "hosts", "--no_ssh")])
def test_where_deepspeed_reaches_no_other_host_it_exports_nothing(launch, tmp_path, words):
    (tmp_path / "home" / ".deepspeed_env").write_text(f"HF_TOKEN={VALUE}\n")
    assert launch(*words)[0] == 0
    assert launch("-Hhosts", "--no_ssh_check")[0] == 2


def test_another_launcher_does_not_read_these_files_but_deepspeed_by_name_does(launch, tmp_path):
    (tmp_path / "home" / ".deepspeed_env").write_text(f"HF_TOKEN={VALUE}\n")
    assert launch("--by", "echo", "started", "--hostfile=hosts")[0] == 0
    assert launch("--by", str(tmp_path / "tools" / "deepspeed"), "--hostfile=hosts")[0] == 2


def test_these_are_what_the_installed_deepspeed_exports():
    from deepspeed.accelerator.cuda_accelerator import CUDA_Accelerator
    from deepspeed.launcher import runner

    ours = set(deepspeed_launch._EXPORTED)
    assert ours == {*runner.EXPORT_ENVS, *CUDA_Accelerator.export_envs(None)}
    assert runner.DLTS_HOSTFILE == deepspeed_launch._HOSTFILE
    assert runner.DEEPSPEED_ENVIRONMENT_PATHS[1:] == ["."]
