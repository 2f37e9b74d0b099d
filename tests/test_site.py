"""The pages of the manual: their links, their navigation, and the site that Zensical builds from them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
OTHERS = [*ROOT.glob("*.md"), ROOT / "benchmarks/README.md"]
PROGRAMS = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"

COUNTED = ("h1", "h2", "h3", "h4", "table", "tr", "ol", "ul", "li", "pre", "img")
"""The elements that a page must have equally often on the site and on GitHub."""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tokens(page: Path) -> list[Token]:
    """Every token of a page, as CommonMark with tables has it."""
    parsed = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    return [token for block in parsed for token in (block, *(block.children or ()))]


@cache
def anchors(page: Path) -> list[str]:
    """The anchors that GitHub gives the headings of a page."""
    found = []
    for opening, inline in pairwise(tokens(page)):
        if opening.type == "heading_open":
            title = "".join(part.content for part in inline.children)
            found.append(re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-"))
    return found


def targets(page: Path) -> Iterator[str]:
    """Where the links and pictures of a page lead, those in HTML too."""
    for token in tokens(page):
        if token.type in ("link_open", "image"):
            yield str(token.attrGet("href") or token.attrGet("src"))
        elif token.type.startswith("html_"):
            yield from re.findall(r'\b(?:href|src|srcset)="([^"]*)"', token.content)
        elif token.type == "text":
            # What Markdown takes for a link only if its target is defined.
            yield from (f"undefined:{name}" for name in re.findall(r"\]\[(\w[^]]*)\]", token.content))


def fault(page: Path, target: str) -> str | None:
    """Why a target of the page leads nowhere, or None."""
    parts = urlsplit(target)
    if parts.scheme in ("http", "https"):
        return None if re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?", parts.netloc) else "no host"
    if parts.scheme or parts.netloc:
        return "not a web page"
    file = page.parent / unquote(parts.path) if parts.path else page
    if not file.exists():
        return "no such file"
    if not file.resolve().is_relative_to(ROOT) and page.is_relative_to(ROOT):
        return "outside of the project"
    if parts.fragment and unquote(parts.fragment) not in anchors(file):
        return "no such heading"
    return None


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=relative)
def test_every_link_leads_somewhere(page):
    """Each link and picture names a file that exists, and a heading of it; others are well-formed."""
    assert {target: why for target in targets(page) if (why := fault(page, target))} == {}


@pytest.mark.parametrize(
    "text",
    [
        "[gone](gone.md)",
        "[gone](#gone)",
        "[gone](page.md#gone)",
        "[gone][nowhere]",
        "![gone](gone.svg)",
        '<picture><source srcset="gone.svg"></picture>',
        '<a href="page.md#gone">gone</a>',
        "[gone](https://)",
        "[gone](ftp://example.com)",
    ],
)
def test_dead_links_are_noticed(tmp_path, text):
    """The check finds each kind of dead link, and takes a good one."""
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n## `One` two, three\n\n[here](#one-two-three)\n\n{text}\n")
    assert len([target for target in targets(page) if fault(page, target)]) == 1


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_anchors_of_a_page_differ(page):
    """No two headings of a page have the same anchor: the site and GitHub would number them differently."""
    assert [anchor for anchor, times in Counter(anchors(page)).items() if times > 1] == []


def navigation(entries: list) -> Iterator[str]:
    """The files of a part of the navigation."""
    for entry in entries:
        [target] = entry.values()
        yield from navigation(target) if isinstance(target, list) else [target]


def test_every_page_is_in_the_navigation():
    """The navigation of the site has each page of docs/ once, and nothing else."""
    project = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
    assert sorted(navigation(project["nav"])) == [page.relative_to(DOCS).as_posix() for page in PAGES]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the built site."""
    if shutil.which("zensical", path=PROGRAMS) is None:
        if os.environ.get("CI") == "true":
            pytest.fail("zensical is not installed, which is an error where CI is true")
        pytest.skip("zensical is not installed")
    directory = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [ROOT / ".ci/site", directory],
        env=os.environ | {"PATH": PROGRAMS},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert built.returncode == 0, built.stderr
    return directory


def test_a_site_replaces_nothing_else(tmp_path):
    """A directory that holds work, and no site, is refused."""
    (tmp_path / "zensical.toml").touch()
    built = subprocess.run([ROOT / ".ci/site", tmp_path], check=False, capture_output=True, text=True)
    assert built.returncode == 2
    assert str(tmp_path) in built.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["zensical.toml"]


class Article(HTMLParser):
    """The elements of the text of a page, the anchors of its headings, and what a browser fetches."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.inside = False
        self.elements, self.anchors, self.fetched = Counter(), [], []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag in ("link", "script", "img", "source", "iframe"):
            self.fetched += [given[name] for name in ("href", "src", "srcset") if given.get(name)]
        self.inside |= tag == "article"
        if self.inside and tag in COUNTED:
            self.elements[tag] += 1
            if tag[0] == "h":
                self.anchors.append(given.get("id"))

    def handle_endtag(self, tag: str) -> None:
        self.inside &= tag != "article"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_the_site_shows_what_github_shows(site, page):
    """A page of the site has the headings, anchors, tables, lists, code and pictures of CommonMark."""
    expected = Counter(
        {"fence": "pre", "code_block": "pre", "image": "img"}.get(token.type, token.tag)
        for token in tokens(page)
        if token.nesting >= 0
    )
    for token in tokens(page):
        if token.type.startswith("html_"):
            expected["img"] += token.content.count("<img ")
    built = Article(site / page.relative_to(DOCS).with_suffix(".html"))
    assert built.anchors == anchors(page)
    assert {name: built.elements[name] for name in COUNTED} == {name: expected[name] for name in COUNTED}


def test_the_site_is_whole_by_itself(site):
    """A browser fetches nothing from elsewhere, and the site has only what it needs."""
    pages = list(site.rglob("*.html"))
    assert pages
    for page in pages:
        for target in Article(page).fetched:
            if page.name != "404.html":
                assert (page.parent / urlsplit(target).path).is_file(), f"{page.name}: {target}"
    styles = [style.read_text(encoding="utf-8") for style in site.rglob("*.css")]
    assert [found for style in styles for found in re.findall(r"url\([\"']?(?:https?:)?//[^)]*", style)] == []
    assert {file.suffix for file in site.rglob("*") if file.is_file() and "assets" not in file.parts} <= {
        ".html",
        ".css",
        ".json",
        ".svg",
        ".xml",
    }
