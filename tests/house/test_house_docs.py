"""Commands and links in README, docs and configurations are ones that exist."""

import re
import shlex
from pathlib import Path

import cli_surface
import pytest

from dist_erase.config.load import load_config
from dist_erase.config.run import PretrainConfig, RunConfig

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
KINDS = {"run": RunConfig, "pretrain": PretrainConfig}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def shown_commands(path: Path) -> list[str]:
    """`make` and `dist-erase` commands of code blocks, code spans and configuration heads."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    if path.suffix == ".yaml":
        text = "\n".join(line.lstrip("# ") for line in text.splitlines() if line[:1] == "#")
        return re.findall(r"\b(?:make|dist-erase) [a-z].*", text)
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"(?<!`)`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    found = [re.match(r"(?:\$ )?(?:\.venv/bin/)?((?:make|dist-erase) .*)", line) for line in lines]
    return [match[1].partition("  #")[0].strip() for match in found if match]


@pytest.mark.parametrize("page", [*PAGES, *CONFIGS], ids=relative)
def test_shown_commands_exist(page):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
    for command in shown_commands(page):
        words = shlex.split(command)
        if words[0] == "make":
            assert {w for w in words[1:] if "=" not in w} <= {*targets, "TARGET"}, command
        else:
            check_command_line(command, words)


def check_command_line(shown: str, words: list[str]) -> None:
    commands = cli_surface.commands()
    name = words[0]
    for word in words[1:]:
        name = f"{name} {word}" if f"{name} {word}" in commands else name
    known = {option for p in commands[name].params for option in p.opts} | {"--help"}
    assert {w.partition("=")[0] for w in words if w.startswith("--")} <= known, shown
    assert name != "dist-erase" or words[1].startswith("-"), f"unknown command: {shown}"
    kind = KINDS.get(words[1])
    if kind is not None and len(words) > 2:
        own = words[2] if words[2].startswith("configs/") else "configs/quickstart.yaml"
        load_config(ROOT / own, [w for w in words[3:] if "=" in w and w[0] != "-"], kind)


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_readme_opens_with_the_two_commands():
    opening = (ROOT / "README.md").read_text(encoding="utf-8")[:1500]
    assert "make quickstart" in opening
    assert "make test" in opening


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_shown_configurations_are_valid(page, tmp_path):
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
        (tmp_path / "shown.yaml").write_text(block, encoding="utf-8")
        load_config(tmp_path / "shown.yaml", [], RunConfig)
