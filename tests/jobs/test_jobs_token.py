"""A cluster with a token: what is said without it, with a wrong one, and with the right one."""

import os
import secrets
import subprocess
from pathlib import Path

import pytest
from support.heads import ray_head
from support.runs import BIN

pytestmark = [pytest.mark.integration, pytest.mark.operations]


@pytest.fixture(scope="module")
def token(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(secrets.token_hex(32))
    return path


@pytest.fixture(scope="module")
def guarded(token):
    with ray_head(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token)) as head:
        yield head


@pytest.fixture
def ask(guarded, token, tmp_path):
    """`dist-erase status` with an environment: exit code, stdout, stderr; the token is in none."""

    def go(**environment: str) -> tuple[int, str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
        done = subprocess.run(
            [str(BIN / "dist-erase"), "status", "--address", guarded.url],
            env=kept | {"HOME": str(tmp_path)} | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert token.read_text() not in done.stdout + done.stderr
        return done.returncode, done.stdout, done.stderr

    return go


def test_without_token_mode_the_mend_is_named(ask):
    code, _, err = ask()
    assert code == 2
    assert "asks for a token, and RAY_AUTH_MODE is not token here" in err
    assert "RAY_AUTH_TOKEN_PATH" in err
    assert "Traceback" not in err


def test_without_a_token_its_place_is_named(ask, tmp_path):
    code, _, err = ask(RAY_AUTH_MODE="token")
    assert code == 2
    assert f"{tmp_path}/.ray/auth_token: holds no token" in err
    code, _, err = ask(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=f"{tmp_path}/mine")
    assert code == 2
    assert f"{tmp_path}/mine: holds no token" in err


def test_a_wrong_token_is_called_wrong(ask, tmp_path):
    wrong = secrets.token_hex(32)
    (tmp_path / "other").write_text(wrong)
    code, _, err = ask(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=f"{tmp_path}/other")
    assert code == 2
    assert "refuses this machine's token (403)" in err
    assert wrong not in err


def test_with_the_token_it_answers_and_nothing_is_warned_about(ask, token):
    code, out, err = ask(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token))
    assert (code, out) == (0, "no run was submitted to this cluster\n")
    assert "warning" not in err
