"""What the site has beside docs/: README, CONTRIBUTING, and every file that a page links to.

Pages link to files of the repository as GitHub and editors understand it. The site has no such
files, so each one that is linked gets a page of its own with its text, and links are turned.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PAGES_OUTSIDE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
_LANGUAGES = {".py": "python", ".yml": "yaml", ".yaml": "yaml", ".json": "json", ".md": "markdown"}


def on_files(files: Files, *, config: Any) -> Files:
    """Adds the pages that docs/ does not have."""
    for source, uri in PAGES_OUTSIDE.items():
        files.append(File.generated(config, uri, content=_text(ROOT / source)))
    pages = [file for file in files if file.src_uri.endswith(".md")]
    linked = {place for page in pages for place in _linked_outside(page)}
    for place in sorted(linked):
        content = _listing(place) if (ROOT / place).is_dir() else _file_page(place)
        files.append(File.generated(config, _uri(place), content=content))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Turns links that lead out of docs/."""
    here = page.file.src_uri
    if here.startswith("source/"):
        return markdown

    def turned(match: re.Match[str]) -> str:
        place = _place(here, match[2])
        if place is None:
            return match[0]
        relative = posixpath.relpath(_uri(place), posixpath.dirname(here) or ".")
        return f"{match[1]}{relative}{match[3]}"

    return _LINK.sub(turned, markdown)


def _linked_outside(page: File) -> set[str]:
    """Files and folders of the repository that a page links to and docs/ does not hold."""
    targets = (match[2] for match in _LINK.finditer(page.content_string))
    places = {place for target in targets if (place := _place(page.src_uri, target))}
    inside = {place for place in places if place.startswith("docs/") or place in PAGES_OUTSIDE}
    return places - inside


def _place(page: str, target: str) -> str | None:
    """A link's target from the root of the repository; None if there is no such file."""
    if "://" in target:
        return None
    outside = {uri: source for source, uri in PAGES_OUTSIDE.items()}
    here = posixpath.dirname(outside.get(page, f"docs/{page}"))
    place = posixpath.normpath(posixpath.join(here, target))
    return place if (ROOT / place).exists() else None


def _uri(place: str) -> str:
    """Where the site has a file or folder of the repository."""
    if place in PAGES_OUTSIDE:
        return PAGES_OUTSIDE[place]
    if place.startswith("docs/"):
        return place.removeprefix("docs/")
    return f"source/{place}/index.md" if (ROOT / place).is_dir() else f"source/{place}.md"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _file_page(place: str) -> str:
    fence = "~" * 12
    language = _LANGUAGES.get(Path(place).suffix, "text")
    return f"# {place}\n\n{fence}{language}\n{_text(ROOT / place)}{fence}\n"


def _listing(place: str) -> str:
    names = sorted(path.name for path in (ROOT / place).iterdir() if path.suffix != ".pyc")
    lines = [f"- `{name}`" for name in names if not name.startswith((".", "__pycache__"))]
    return "\n".join([f"# {place}/", "", "In the repository:", "", *lines, ""])
