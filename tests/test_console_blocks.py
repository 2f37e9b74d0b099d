"""What the pages of the documentation show in a terminal is what the terminal shows."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import pexpect
import pytest
from sqlalchemy import URL

from tests.conftest import SERVERS
from tests.pages import DOCS, blocks
from tests.test_docs import parse

OLD = {
    "times.md",
    "history.md",
    "import.md",
    "tokens.md",
    "search.md",
}
"""Pages that are still to be written anew, and so are those that do not open with an example."""

PAGES = sorted(
    page.name
    for page in DOCS.glob("*.md")
    if page.name not in OLD and "```console" in page.read_text(encoding="utf-8").partition("\n## ")[0]
)
DATA = Path(__file__).resolve().parent / "data"
EXAMPLE_BUCKET = "s3://example-backups/taskdb"
HOME = "/home/you"
PROMPT = "<<done:>>"
SECONDS = 60

_PART = re.compile(
    r"^<!-- (?P<mark>run|on|answer): (?P<value>.*?) -->$|^```console\n(?P<block>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
VARIABLE = (
    (r"\[\d+\] \d+\n", ""),
    (r"-[0-9a-f]{6}-\d{8}T\d{6}\.\d{6}Z", "-STAMP"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?", "TIME"),
    (rf"{_DAY},? \d\d? {_MONTH}(?: \d{{4}})?(?: \d\d:\d\d(?::\d\d)?(?: GMT)?)?", "TIME"),
    (rf"\d\d? {_MONTH}(?: \d{{4}})?(?: \d\d:\d\d)?", "TIME"),
    (r"\d{4}-\d\d-\d\d|\b\d\d:\d\d(?::\d\d)?\b", "TIME"),
    (r"\b(?:in|for) \d+ (?:second|minute|hour|day|week|month|year)s?\b", "SOON"),
    (r"\b\d+ (?:second|minute|hour|day|week|month|year)s? (?:ago|old)\b", "AGO"),
    (rf"\b(?:today|tomorrow|yesterday|just now|{_DAY})(?= |\)|\n|$)", "SOON"),
    (r"\b\d[\d.,]* ?(?:µs|ms|s|min|h)\b", "DURATION"),
    (r"\b\d[\d.,]* ?(?:B|kB|MB|GB|bytes)(?![\w])", "SIZE"),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "ID"),
    (r"\b(?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{8,64}\b", "ID"),
    (r"─+", "─"),
    (r" +", " "),
    (r" $", ""),
)
"""What differs from run to run, and what stands in its place while a page is compared."""


class Step(NamedTuple):
    """One command of a page, with what it prints; None if the page does not show the command."""

    command: str
    output: str | None
    engines: str
    answers: tuple[str, ...] = ()


def read_page(page: str) -> Iterator[Step]:
    """Yield the commands of a page in their order, also those in its hidden comments."""
    engines, answers = "", []
    for part in _PART.finditer((DOCS / page).read_text(encoding="utf-8")):
        if part["mark"] == "run":
            yield Step(part["value"], None, "")
        elif part["mark"] == "on":
            engines = part["value"]
            assert engines in {"postgresql", "postgresql only"}, engines
        elif part["mark"] == "answer":
            answers.append(part["value"])
        else:
            assert part["block"].startswith("$ "), part["block"]
            for piece in re.split(r"^\$ ", part["block"], flags=re.MULTILINE)[1:]:
                found = re.fullmatch(r"([^\n]*\n)((?:> [^\n]*\n)*)(.*)", piece, re.DOTALL)
                more = [line.removeprefix("> ") for line in found[2].splitlines(keepends=True)]
                yield Step(found[1] + "".join(more), found[3], engines, tuple(answers))
            engines, answers = "", []


def is_for(step: Step, engine: str) -> bool:
    """Tell whether a command is run with an engine: SQLite leaves out what is for PostgreSQL only."""
    if step.output is None:
        return True
    return step.engines != "postgresql only" if engine == "sqlite" else step.engines.startswith("postgresql")


def steady(text: str) -> str:
    """Replace what differs from run to run."""
    for pattern, replacement in VARIABLE:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


def is_shown(expected: str, printed: str) -> bool:
    """Tell whether a terminal printed what a page shows, `…` being any text, and alone any lines."""
    lines = [
        r"(?:.*\n)*?" if line.strip() == "…" else re.escape(steady(line)).replace("…", ".*") + r"\n"
        for line in expected.splitlines()
    ]
    return re.fullmatch("".join(lines), steady(printed)) is not None


class TerminalShell:
    """A bash in a terminal of 100 columns, in an empty home."""

    def __init__(self, home: Path, variables: dict[str, str]) -> None:
        self.home = home
        environment = {
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "TERM": "xterm",
            "NO_COLOR": "1",
            "TASKDB_PAGER": "cat",
            "DATA": str(DATA),
            "PS1": PROMPT.replace("done:", r"done:$?"),
            "PS2": "",
            **variables,
        }
        self._bash = pexpect.spawn(
            "/bin/bash",
            ["--norc", "--noprofile", "--noediting", "+m"],
            env=environment,
            cwd=home,
            dimensions=(50, 100),
            encoding="utf-8",
            timeout=SECONDS,
        )
        self._bash.delaybeforesend = None
        self._wait()
        # bash sets PS2 itself if it is empty.
        self.run("PS2=; set +m")

    def _wait(self, answers: tuple[str, ...] = ()) -> tuple[str, int]:
        printed = ""
        waiting = list(answers)
        ended = re.compile(PROMPT.replace("done:", r"done:(\d+)"))
        while self._bash.expect([ended, r"(?:\]|:|\?) $"] if waiting else [ended]) == 1:
            printed += self._bash.before + self._bash.after
            self._bash.sendline(waiting.pop(0))
        return printed + self._bash.before, int(self._bash.match[1])

    def run(self, command: str, answers: tuple[str, ...] = ()) -> tuple[str, int]:
        """Type a command, and return what the terminal shows, and the code."""
        typed = command.rstrip("\n")
        self._bash.sendline(typed)
        printed, code = self._wait(answers)
        printed = printed.replace("\r\n", "\n").removeprefix(f"{typed}\n")
        # A progress bar draws over its line.
        printed = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|.*\r(?!\n)", "", printed)
        return printed, code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bash.close(force=True)


@pytest.fixture
def follow(tmp_path, request, make_url_of):
    """Runs the commands of a page, and compares what a terminal shows."""

    def follow(page: str, engine: str) -> None:
        home, variables, own = tmp_path / "you", {}, []
        home.mkdir()
        if "<!-- needs: s3 -->" in (DOCS / page).read_text(encoding="utf-8"):
            bucket = request.getfixturevalue("bucket")
            variables |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
            variables |= {"AWS_REGION": "us-east-1", "BUCKET": bucket.address}
            own.append((bucket.address, EXAMPLE_BUCKET))
        if engine != "sqlite":
            url: URL = make_url_of(engine)
            variables["TASKDB_DATABASE_URL"] = url.render_as_string(hide_password=False)
            own.append((f"{url.host}:{url.port}/{url.database}", "db.example.com:5432/work"))
        own.append((str(home), HOME))
        with TerminalShell(home, variables) as shell:
            for step in read_page(page):
                if not is_for(step, engine):
                    continue
                command = step.command.replace(HOME, str(home)).replace(EXAMPLE_BUCKET, "$BUCKET")
                printed, code = shell.run(command, step.answers)
                for here, there in own:
                    printed = printed.replace(here, there)
                assert "Traceback" not in printed
                if step.output is None:
                    assert code == 0, f"{step.command}\n{printed}"
                else:
                    assert is_shown(step.output, printed), (
                        f"{page}: $ {step.command}\n--- shown:\n{printed}\n--- written:\n{step.output}"
                    )

    yield follow
    shutil.rmtree(tmp_path / "you", ignore_errors=True)


def pages_for(*engines: str) -> list[str]:
    """Name the pages with a block for one of these kinds of engines."""
    return [
        page
        for page in PAGES
        if any(step.output is not None and step.engines in engines for step in read_page(page))
    ]


@pytest.mark.parametrize("page", pages_for("", "postgresql"))
def test_the_blocks_of_a_page(follow, page):
    """Each command of a page prints on a terminal what the page shows, on SQLite."""
    follow(page, "sqlite")


@pytest.mark.parametrize("page", pages_for("postgresql", "postgresql only"))
def test_the_blocks_of_a_page_on_postgresql(follow, page):
    """Each command that is marked so prints on a terminal what the page shows, on PostgreSQL."""
    follow(page, SERVERS[-1])


def command_lines(page: str) -> list[str]:
    """Find the command lines of taskdb in the blocks of a page that are not run."""
    found = []
    for block in blocks(page, "sh", "cron", "yaml", "ini"):
        # A comment, and what another command prints, are no command lines.
        text = re.sub(r"^\s*#.*$", "", block.text, flags=re.MULTILINE).replace("\\\n", " ")
        text = re.sub(r'"\$\([^)]*\)"', "OUTPUT", text)
        found += re.findall(r"(?<![\w.'-])(?:/[\w./-]*/)?(taskdb (?=[a-z-])[^&|;()<>\n]*)", text)
    # The last quote may be that of `sh -c '…'`.
    return sorted({line.rstrip("'") if line.count("'") % 2 else line for line in found})


@pytest.mark.parametrize("page", sorted(page.name for page in DOCS.glob("*.md")))
def test_the_other_blocks_of_a_page(page):
    """Every command and option in a block that cannot be run exists."""
    for line in command_lines(page):
        assert parse(shlex.split(line, comments=True)).startswith("taskdb "), line


def test_a_difference_is_seen():
    """The comparison forgives times and sizes, and nothing else."""
    written = "created task 1, due Fri 27 Nov 2026 23:59 (in 5 days)\n…\nbacked up 3 rows to a-…: 16.3 kB\n"
    printed = "created task 1, due Mon 4 Jan 2027 23:59 (tomorrow)\nx\ny\nbacked up 3 rows to a-b: 7 kB\n"
    assert is_shown(written, printed)
    assert not is_shown(written, printed.replace("task 1", "task 2"))
    assert not is_shown(written, printed.replace("3 rows", "4 rows"))
    assert not is_shown(written, printed + "more\n")
