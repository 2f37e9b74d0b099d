"""The words of the manual, in British spelling by the dictionary of Debian's hunspell-en-gb."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.test_site import PAGES, ROOT, relative, tokens

WORDS = ROOT / ".ci/words.txt"
READ = [*PAGES, *ROOT.glob("*.md")]


def prose(page: Path) -> set[str]:
    """The words of a page that are not code, names of files, addresses or abbreviations in capitals."""
    texts = [token.content for token in tokens(page) if token.type == "text"]
    found = set()
    for word in re.findall(r"[\w.@/:'~$-]+", " ".join(texts)):
        written = word.strip(".:'/").removesuffix("'s")
        if not re.search(r"[\d_@/:~$.]", written):
            found |= {part for part in written.split("-") if not (part.isupper() and len(part) > 1)}
    return found


def misspelt(words: set[str]) -> set[str]:
    """The words that the dictionary does not have."""
    missing = "hunspell is not installed" if shutil.which("hunspell") is None else ""
    if not missing:
        done = subprocess.run(
            ["hunspell", "-d", "en_GB", "-i", "UTF-8", "-l"],
            input="\n".join(sorted(words)),
            capture_output=True,
            check=False,
            encoding="utf-8",
            timeout=60,
        )
        missing = "its British dictionary is not installed" if done.returncode else ""
    if missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{missing}, which is an error where CI is true")
        pytest.skip(missing)
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def unknown() -> set[str]:
    """The words of all pages that the dictionary does not have."""
    return misspelt(set().union(*(prose(page) for page in READ)))


@pytest.mark.parametrize("page", READ, ids=relative)
def test_words_are_spelt_right(unknown, page):
    """Each word of a page is in the British dictionary or is one of our terms."""
    assert sorted((prose(page) & unknown) - set(WORDS.read_text(encoding="utf-8").split())) == []


def test_the_terms_are_used(unknown):
    """The list of terms is sorted, and has no word that no page uses or that the dictionary has."""
    terms = WORDS.read_text(encoding="utf-8").splitlines()
    assert terms == sorted(unknown & set(terms), key=lambda word: (word.lower(), word))


def test_misspelt_words_are_noticed(tmp_path):
    """American spelling and typing errors are found; code, names of files and abbreviations are not."""
    page = tmp_path / "page.md"
    page.write_text("# Colors\n\n`recieve` an archive's colour, write-ony: taskdb.md, WAL:\n\n    tabel\n")
    assert misspelt(prose(page)) == {"Colors", "ony"}
