"""What `taskdb help` shows: commands, and the pages of the manual."""

import os
import re

import pexpect
import pytest

from taskdb_cli.cli import topics
from taskdb_cli.output import manual
from tests.forked import start_on_terminal
from tests.pages import DOCS, blocks
from tests.terminals import open_terminal
from tests.test_docs import COMMANDS, GROUPS
from tests.test_site import anchors

PAGES = sorted(page.stem for page in DOCS.glob("*.md"))


def listed(text: str) -> dict[str, str]:
    """The topics that a help lists, with their titles."""
    return dict(re.findall(r"^  (\S+) +(.*)$", text.rpartition("\nTopics:\n")[2], re.MULTILINE))


def test_help_lists_commands_and_topics(bare_taskdb):
    """`taskdb help` has the help of taskdb, and one line for each page of the manual."""
    shown = bare_taskdb("help").out
    assert shown.startswith(bare_taskdb("--help").out.rstrip("\n"))
    assert {*PAGES} - {"index"} <= {name.removesuffix(".md") for name in listed(shown)}
    assert listed(shown)["start"] == "Start"
    assert listed(shown)["times"] == "Times"
    assert listed(shown)["exit-codes"] == "Exit codes"


def test_every_listed_topic_can_be_shown(bare_taskdb):
    """Each name in the list is a topic, and shows a text with that title."""
    for name, title in listed(bare_taskdb("help").out).items():
        shown = bare_taskdb("help", name).out
        assert shown.partition("\n")[0].lstrip("# ").replace("`", "") == title
        assert not re.search(r"^<", shown, re.MULTILINE), name


@pytest.mark.parametrize(
    ("words", "title"),
    [
        (["times"], "# Times"),
        (["Times"], "# Times"),
        (["times.md"], "# Times"),
        (["tls"], "## TLS"),
        (["exit-codes"], "## Exit codes"),
        (["exit", "codes"], "## Exit codes"),
        (["formats.md#exit-codes"], "## Exit codes"),
        (["-q", "exit-codes"], "## Exit codes"),
        (["exit", "codes", "-o", "json"], "## Exit codes"),
        (["--profile", "work", "exit", "codes"], "## Exit codes"),
    ],
)
def test_a_topic_is_named_as_in_a_link(bare_taskdb, words, title):
    """A page and a section are shown by the name that links have for them."""
    shown = bare_taskdb("help", *words).out
    assert shown.splitlines()[0] == title
    assert shown.count("\n## ") == 0 or title.startswith("# ")


def test_a_command_goes_before_a_page(bare_taskdb):
    """A name of both is that of the command, whose help names the page."""
    assert bare_taskdb("help", "backup") == bare_taskdb("backup", "--help")
    assert "taskdb help backup.md" in bare_taskdb("help", "backup").out
    assert bare_taskdb("help", "backup.md").out.startswith("# ")


def test_the_help_of_a_command_names_its_pages(bare_taskdb):
    """Every page that a help names is there, and every command that has pages exists."""
    for path in {**COMMANDS, **GROUPS}:
        shown = bare_taskdb(*path.split()[1:], "--help").out.rpartition("\nMore: ")[2]
        for page in re.findall(r"taskdb help (\S+?)(?:,|\n|$)", shown if path != "taskdb" else ""):
            assert page.removesuffix(".md") in PAGES, path
    about = {path for paths in topics.ABOUT.values() for path in paths}
    assert {f"taskdb {path}" for path in about} <= {*COMMANDS, *GROUPS}


def test_a_word_that_people_look_for_shows_what_is_about_it(bare_taskdb):
    """Each synonym leads to a page or a section, and no command and no topic has its name."""
    assert bare_taskdb("help", "cron") == bare_taskdb("help", "scheduled")
    for word, topic in topics.SYNONYMS.items():
        assert manual.find(topic), topic
        assert manual.find(word) is None, word
        assert f"taskdb {word}" not in {*COMMANDS, *GROUPS}


def test_headings_are_those_of_the_pages():
    """The names that may be suggested are the anchors of the pages, and no comments in code."""
    found = [anchor for page in PAGES for anchor in anchors(DOCS / f"{page}.md")]
    assert sorted(manual.headings()) == sorted(found)


def test_unknown_topics(bare_taskdb):
    """What is no command and no topic is a mistake, with the nearest name."""
    assert "'times'" in bare_taskdb("help", "tims", expect=2).err
    assert "'backup.md'" in bare_taskdb("help", "bakcup.md", expect=2).err
    assert "'exit-codes'" in bare_taskdb("help", "exit-cods", expect=2).err
    assert "'taskdb task create'" in bare_taskdb("help", "create", expect=2).err
    assert "'times more'" in bare_taskdb("help", "times", "more", expect=2).err
    assert "'zzz'" in bare_taskdb("help", "zzz", "-o", "csv", expect=2).err
    for words in (["zzz"], ["../README"], ["times.md#zzz"], ["zzz.md#tls"]):
        assert "topic" in bare_taskdb("help", *words, expect=2).err


def test_a_section_ends_where_the_next_begins(tmp_path, monkeypatch):
    """A heading in a code block ends no section, and comments are not shown."""
    text = "# Page\n\n<!-- run: true -->\n## First\n\n```sh\n# Second\n```\n\n### Part\n\n## Second\n\nno\n"
    (tmp_path / "page.md").write_text(text)
    monkeypatch.setattr(manual, "pages", lambda: {"page": tmp_path / "page.md"})
    assert manual.find("first") == "## First\n\n```sh\n# Second\n```\n\n### Part\n\n"
    assert manual.find("second") == "## Second\n\nno\n"
    assert manual.find("page") == text.replace("<!-- run: true -->\n", "")
    assert manual.find("third") is None
    assert [*manual.headings()] == ["page", "first", "part", "second"]


@pytest.mark.parametrize(("columns", "widest"), [(60, 60), (200, 100)])
@pytest.mark.usefixtures("isolated")
def test_a_terminal_gets_a_formatted_page(columns, widest):
    """On a terminal a page is no Markdown, fits the width, and names the pages that it links."""
    env = os.environ | {"TERM": "xterm", "NO_COLOR": "1", "TASKDB_PAGER": "cat"}
    # It would overrule the size of the terminal.
    env.pop("COLUMNS", None)
    child = start_on_terminal("help", "backup.md", env=env, dimensions=(24, columns))
    child.expect(pexpect.EOF)
    code = "".join(block.text for block in blocks("backup.md")).splitlines()
    lines = re.sub(r"\x1b\[[0-9;]*m", "", child.before).splitlines()
    assert widest - 30 < max(len(line) for line in lines if line not in code) <= widest
    assert [line for line in lines if line.startswith(("```", "|", "#", "<"))] == []
    assert "More: taskdb help " in " ".join(lines)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_can_be_copied_from_a_terminal(page, monkeypatch):
    """On a narrow terminal every line of code is whole, also in a list, and no cell of a table is cut."""
    terminal = open_terminal(monkeypatch, "stdout", width=40)
    text = manual.find(page)
    manual.write_page(text, terminal, ())
    # A tab is shown as spaces.
    shown = [line.split() for line in terminal.lines]
    code = "".join(block.text for block in blocks(f"{page}.md")).splitlines()
    assert [line for line in code if line.split() not in shown] == []
    assert terminal.getvalue().count("…") == text.count("…")


@pytest.mark.usefixtures("isolated")
def test_a_long_page_goes_through_the_pager(tmp_path):
    """On a terminal a page of more than a screen is for the pager."""
    env = os.environ | {"TERM": "xterm", "TASKDB_PAGER": f"tee {tmp_path / 'paged'}"}
    child = start_on_terminal("help", "times", env=env)
    child.expect(pexpect.EOF)
    assert "Times" in (tmp_path / "paged").read_text(encoding="utf-8")


def test_completion_offers_topics(complete):
    """Behind `taskdb help` the shell offers commands and topics; behind a group only its commands."""
    assert {"task", "times", "exit-codes", "backup", "backup.md"} <= set(complete("help", ""))
    assert complete("help", "exit-c") == ["exit-codes"]
    assert complete("hel") == ["help"]
    assert {"help", "times"}.isdisjoint(complete("help", "task", ""))
    assert "times" not in complete("")
    assert "create" in complete("help", "task", "")
