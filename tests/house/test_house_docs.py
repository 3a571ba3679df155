"""Commands, links, keys and configurations in README and docs are ones that exist."""

import re
from pathlib import Path
from typing import get_args, get_origin

import cli_surface
import pytest
from pydantic import BaseModel
from support.pages import (
    CI,
    CONFIGS,
    MARKS,
    PAGES,
    ROOT,
    RUNS,
    blocks,
    commands,
    relative,
    shell_blocks,
    shown_commands,
    spans,
)

from dist_erase import errors
from dist_erase.config.load import kind_of, load_config
from dist_erase.config.run import PretrainConfig, RunConfig
from dist_erase.observability.metrics import DEFINITIONS

QUICKSTART = ROOT / "configs" / "quickstart.yaml"
COMMANDS = cli_surface.commands()
# Of Python modules, which look like keys.
NOT_KEYS = re.compile(r"ray\.(train|init|util|get|remote|put)\b|model\.state_dict")


@pytest.mark.parametrize("page", [*PAGES, *CONFIGS], ids=relative)
def test_shown_commands_exist(page):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
    for words in shown_commands(page):
        if words[0] == "make":
            assert {w for w in words[1:] if "=" not in w} <= {*targets, "TARGET"}, words
        elif words[0] == "dist-erase":
            check_command_line(words)
        elif words[0] in ("python", "deepspeed"):
            check_program(words)


def check_command_line(words: list[str]) -> None:
    """The command line itself takes these words, and the configuration its overrides."""
    name, *rest = words
    while rest and f"{name} {rest[0]}" in COMMANDS:
        name, rest = f"{name} {rest[0]}", rest[1:]
    if {"--help", "--version", "…", "..."} & set(rest):
        return
    assert not getattr(COMMANDS[name], "commands", None) or not rest, f"unknown command: {words}"
    if rest:
        COMMANDS[name].make_context(name, list(rest))
    check_overrides(words, PretrainConfig if name == "dist-erase pretrain" else None)


def check_program(words: list[str]) -> None:
    """The script or module is there; of our own launchers also the overrides."""
    assert words[1:2] != ["-m"] or is_module(words[2]), words
    ours = [w for w in words if re.match(r"(benchmarks|launchers|scripts|tests)/", w)]
    assert all((ROOT / path.partition("::")[0]).exists() for path in ours), words
    check_overrides(words, None)


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    ours = name.partition(".")[0] in ("dist_erase", "monitoring")
    return not ours or path.with_suffix(".py").exists() or (path / "__main__.py").exists()


def check_overrides(words: list[str], kind: type | None) -> None:
    """`KEY=VALUE` behind a YAML file fits that file, or the quickstart's if it is not ours."""
    files = [n for n, word in enumerate(words) if word.endswith((".yaml", ".yml"))]
    if files:
        named = ROOT / words[files[0]]
        base = named if named.is_file() else QUICKSTART
        given = [w for w in words[files[0] + 1 :] if "=" in w and not w.startswith("-")]
        load_config(base, given, kind or kind_of(base))


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_shown_overrides_and_keys_fit_the_schema(page):
    """In code spans: `train.lr=1e-5` loads, and `train.lr` is a key."""
    key = re.compile(rf"({'|'.join(RunConfig.model_fields)})(\.[a-z_0-9]+)+")
    for span in spans(page):
        given = [w for w in span.split() if re.match(rf"{key.pattern}=\S", w)]
        if given:
            # What rules across keys ask for besides.
            others = ["evaluate.every_steps=10", "observe.bind=0.0.0.0"]
            load_config(QUICKSTART, [*others, *given], RunConfig)
        elif key.fullmatch(span) and not NOT_KEYS.match(span):
            assert is_key(span), f"there is no key {span}"


def is_key(dotted: str) -> bool:
    """Whether the schema of `run` or `pretrain` has it."""
    return any(leads_on(dotted.split("."), kind) for kind in (RunConfig, PretrainConfig))


def leads_on(parts: list[str], section: type[BaseModel]) -> bool:
    if parts[0] not in section.model_fields:
        return False
    annotation = section.model_fields[parts[0]].annotation
    if len(parts) == 1 or get_origin(annotation) is dict:
        return True
    members = [m for m in (annotation, *get_args(annotation)) if isinstance(m, type)]
    return any(issubclass(m, BaseModel) and leads_on(parts[1:], m) for m in members)


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_shell_block_says_what_becomes_of_it(page):
    for block in shell_blocks(page):
        assert block.mark in MARKS, f"{block.place}: put one of {sorted(MARKS)} above it"
    for block in blocks(page):
        if block.language in ("", "text"):
            told = re.findall(
                r"^(?:\$ )?(?:[A-Z_]+=\S+ )*(?:dist-erase |make |\.venv/bin/|sbatch |kubectl ).*",
                block.text,
                re.M,
            )
            assert not told, f"{block.place}: commands stand in a ```bash block"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_blocks_marked_as_in_ci_are_what_ci_runs(page):
    scripts = [ROOT / ".ci/run", ROOT / "scripts/quickstart"]
    executed = [words for script in scripts for words in ci_commands(script.read_text())]
    for block in shell_blocks(page):
        if block.mark == CI:
            for words in commands(block.text):
                assert words in executed, f"{block.place}: {' '.join(words)} is not in .ci/run"


def ci_commands(script: str) -> list[list[str]]:
    """What a script of ours executes, without what it is wrapped in."""
    found = []
    for words in re.findall(
        r'^(?:part ".*?" )?(?:\.venv/bin/)?((?:make|dist-erase) .*)', script, re.M
    ):
        plain = words.replace("--no-print-directory ", "").partition(" </dev/null")[0]
        found.append(plain.split())
    return found


def test_the_tutorial_and_the_how_tos_are_executed():
    executed = {relative(page) for page in PAGES if any(b.mark == RUNS for b in shell_blocks(page))}
    assert {"docs/tutorial.md", "docs/how-to-forget-set.md", "docs/data-tools.md"} <= executed


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
def test_named_metrics_exist(page):
    known = {definition.name for definition in DEFINITIONS}
    for name in re.findall(r"\bdist_erase_[a-z_]+\b(?![./])", page.read_text(encoding="utf-8")):
        assert re.sub("_(sum|count|bucket)$", "", name) in known, name


def test_readme_tells_of_every_exit_code():
    table = re.findall(r"^\| (\d+) \| ", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    codes = [code for name, code in vars(errors).items() if name.startswith("EXIT_")]
    assert sorted(map(int, table)) == sorted(codes)


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_shown_configurations_are_valid(page, tmp_path):
    for block in blocks(page):
        if block.language == "yaml" and not re.search("^apiVersion:", block.text, re.M):
            shown: Path = tmp_path / "shown.yaml"
            shown.write_text(block.text, encoding="utf-8")
            load_config(shown, [], RunConfig)
