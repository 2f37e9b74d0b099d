"""The pages of the manual: how one is found, and how it is shown."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TextIO

WIDEST = 100
"""Columns that a page fills at most."""

_HIDDEN = re.compile(r"^<(?:!--.*?--|picture>.*?</picture)>\n+", re.MULTILINE | re.DOTALL)
"""What is for the programs that test the manual and make a site of it."""
_CODE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
"""A block of code, whose comments may look like headings."""
_LINK = re.compile(r"(?<!!)\[([^]]*)\]\((?!\w+:)([\w-]+(?=\.md)|)[^)]*\)")
"""A link within the manual: its text and the name of its page."""


def pages() -> dict[str, Path]:
    """Return the pages by name, in alphabetical order. Their titles are their first lines."""
    package = Path(__file__).parent.parent
    inside = package / "docs"
    directory = inside if inside.is_dir() else package.parent / "docs"
    return {path.stem: path for path in sorted(directory.glob("*.md"))}


def title_of(page: Path) -> str:
    """Return the title of a page."""
    with page.open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").rstrip().replace("`", "")


def find(topic: str) -> str | None:
    """Return a page by its name, or the sections with that heading; None if there are none.

    A heading is named as in a link: `exit-codes`. PAGE#HEADING and PAGE.md are names too.
    """
    name, _, heading = topic.partition("#")
    known = pages()
    page = known.get(name.removesuffix(".md"))
    if page is None and heading:
        return None
    texts = [_read(each) for each in ([page] if page else known.values())]
    if page and not heading:
        return texts[0]
    found = [section for text in texts for section in _sections(text, heading or topic)]
    return "\n".join(found) or None


def headings() -> Iterator[str]:
    """Yield the name of every heading."""
    for page in pages().values():
        yield from _names(page.read_text(encoding="utf-8"))


def write_page(text: str, stream: TextIO, commands: Collection[str]) -> None:
    """Write a page: formatted for a terminal, or else as it is.

    On a terminal a link says no more than its text, so a last line names the pages that are linked. One that
    is called like a command is named with `.md`.
    """
    if not stream.isatty():
        stream.write(text)
        return
    from rich.theme import Theme

    from taskdb_cli.output.markdown import Page
    from taskdb_cli.output.tables import console_for

    linked = sorted({found[2] for found in _LINK.finditer(text) if found[2]})
    console = console_for(stream)
    console.width = min(console.width, WIDEST)
    # Rich's own style has a black background.
    console.push_theme(Theme({"markdown.code": "cyan"}))
    console.print(Page(_LINK.sub(r"\1", text), code_theme="ansi_dark"), crop=False)
    if linked:
        console.print(f"\nMore: {', '.join(f'taskdb help {named(each, commands)}' for each in linked)}")


def named(page: str, commands: Collection[str]) -> str:
    """Return what `taskdb help` calls a page."""
    return f"{page}.md" if page in commands else page


def _read(page: Path) -> str:
    return _HIDDEN.sub("", page.read_text(encoding="utf-8"))


def _name(heading: str) -> str:
    """Return what a link calls a heading, as GitHub and others do."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _names(text: str) -> list[str]:
    """Return the names of the headings of a text. Rich would parse it too, but takes long to import."""
    return [_name(heading) for heading in re.findall(r"^#+ (.*)", _CODE.sub("", text), re.MULTILINE)]


def _sections(text: str, name: str) -> Iterator[str]:
    """Yield the sections of a text that have a heading of that name."""
    if name not in _names(text):
        return
    from rich.markdown import Markdown

    lines = text.splitlines(keepends=True)
    tokens = Markdown(text).parsed
    starts = [(each.tag, each.map[0]) for each in tokens if each.type == "heading_open" and each.map]
    for number, (tag, start) in enumerate(starts):
        if _name(lines[start].lstrip("# ").rstrip()) == name:
            end = next((line for other, line in starts[number + 1 :] if other <= tag), len(lines))
            yield "".join(lines[start:end])
