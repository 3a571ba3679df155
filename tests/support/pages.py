"""Blocks and commands of README, docs and the heads of configurations.

Above each shell block of a page stands a comment that says what becomes of it in tests:

    <!-- runs -->          executed, with the other such blocks of its page, in one folder
    <!-- in CI -->         .ci/run executes the same commands
    <!-- needs REASON -->  only parsed here; REASON is one of `REASONS`

A block that is marked as <!-- prints --> holds lines that the executed ones print; … stands for
what differs from time to time.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
RUNS, CI, PRINTS = "runs", "in CI", "prints"
REASONS = {
    "a cluster",
    "a GPU",
    "a run at work",
    "data of yours",
    "Docker",
    "Kubernetes",
    "SLURM",
    "minutes",
    "several machines",
}
MARKS = {RUNS, CI, *(f"needs {reason}" for reason in REASONS)}
SHELLS = {"bash", "sh", "shell", "console"}
_BEFORE = {"sudo", "time", "nice", "exec"}  # words that may stand before a command
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>[^`\n]*)\n(?P<text>.*?)^(?P=indent)```[ ]*$", re.M | re.S
)
_COMMENT = re.compile(r"<!--\s*([^>]*?)\s*-->\s*\Z")
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1[^\n]*\n.*?^\2$", re.M | re.S)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page.

    Attributes:
        place: PAGE:LINE of its fence.
        language: the first word behind the fence; empty if there is none.
        mark: the comment right above it; empty if there is none.
        text: what stands in it.
    """

    place: str
    language: str
    mark: str
    text: str


def relative(path: Path) -> str:
    """From the root of the repository."""
    return str(path.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        above = _COMMENT.search(text[: match.start()])
        found.append(
            Block(
                place=f"{page.name}:{text.count(chr(10), 0, match.start()) + 1}",
                language=(match["info"].split() or [""])[0],
                mark=above[1] if above else "",
                text=match["text"],
            )
        )
    return found


def shell_blocks(page: Path) -> list[Block]:
    """Those of them that hold commands."""
    return [block for block in blocks(page) if block.language in SHELLS]


def printed(page: Path) -> list[re.Pattern[str]]:
    """What the output of the executed blocks of a page must hold, line by line."""
    lines = [
        line
        for block in blocks(page)
        if block.mark == PRINTS
        for line in block.text.splitlines()
        if line.strip() not in ("", "…")
    ]
    return [
        re.compile(r"\s+".join(re.escape(word).replace("…", ".*") for word in line.split()))
        for line in lines
    ]


def spans(page: Path) -> list[str]:
    """The code spans of a page, each on one line."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]


def commands(script: str) -> Iterator[list[str]]:
    """The words of each simple command of a shell script, without variables set for it."""
    for line in _lines(_HEREDOC.sub("", script)):
        words: list[str] = []
        for word in [*_words(line), ";"]:
            if _is_operator(word):
                yield from _simple(words)
                words = []
            else:
                words.append(word)


def plain_commands(script: str) -> list[list[str]] | None:
    """The words of each line, if all call `dist-erase` and leave nothing to a shell; else None."""
    lines = [_words(line) for line in _lines(script)]
    plain = not re.search(r"[$`]", script) and all(
        words[0] == "dist-erase" and not any(map(_is_operator, words)) for words in lines
    )
    return lines if plain else None


def shown_commands(path: Path) -> list[list[str]]:
    """All commands that a page, or the head of a configuration, shows."""
    if path.suffix == ".yaml":
        text = path.read_text(encoding="utf-8")
        head = "\n".join(line.lstrip("# ") for line in text.splitlines() if line[:1] == "#")
        lines = re.findall(r"\b(?:make|dist-erase) [a-z].*", head)
    else:
        lines = [block.text for block in shell_blocks(path)]
        lines += [span for span in spans(path) if re.match(r"(make|dist-erase|deepspeed) ", span)]
    return [words for text in lines for words in commands(text)]


def _lines(script: str) -> list[str]:
    """Continued lines joined; no comments, no empty ones."""
    lines = script.replace("\\\n", " ").splitlines()
    bare = [re.sub(r"(^|\s)#\s.*$", "", line.removeprefix("$ ")) for line in lines]
    return [line for line in bare if line.strip()]


def _words(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    return list(lexer)


def _is_operator(word: str) -> bool:
    return set(word) <= set("();<>|&")


def _simple(words: list[str]) -> Iterator[list[str]]:
    while words and (words[0] in _BEFORE or re.match(r"[A-Za-z_]\w*=", words[0])):
        words = words[1:]
    if words:
        yield [words[0].removeprefix(".venv/bin/"), *words[1:]]
