"""The site that `make docs` builds: no warning, nothing loaded from elsewhere, lists are lists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built pages by name, those of linked source files left out."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {str(path.relative_to(out)): path for path in sorted(out.rglob("*.html"))}
    return {
        name: path.read_text(encoding="utf-8")
        for name, path in pages.items()
        if not name.startswith("source/")
    }


def test_nothing_is_loaded_from_elsewhere(site):
    for name, page in site.items():
        loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"(.*?)\"", page)
        assert loaded, name
        assert [at for at in loaded if re.match(r"(https?:)?//", at)] == [], name


def test_readme_is_the_first_page_and_its_links_stay_on_the_site(site):
    assert "make quickstart" in site["index.html"]
    assert 'href="quickstart.html"' in site["index.html"]
    assert 'href="source/LICENSE.html"' in site["index.html"]
    assert 'href="source/dist_erase/cli/run.py.html"' in site["design.html"]


def test_markdown_that_only_other_renderers_understand_is_not_used(site):
    """A list right below a paragraph, say, is no list here."""
    for name, page in site.items():
        text = re.sub(r"<(pre|script|style)\b.*?</\1>", "", page, flags=re.S)
        for paragraph in re.findall(r"<p>(.*?)</p>", text, flags=re.S):
            odd = re.findall(r"^(?:[-*] |\d+\. |\||```).*", paragraph, flags=re.M)
            assert odd == [], f"{name}: {odd[0]}"
