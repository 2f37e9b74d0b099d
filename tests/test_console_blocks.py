"""What the pages of the documentation show in a terminal is what the terminal shows."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.conftest import SERVERS
from tests.console import HOME, Step, TerminalShell, is_shown, read_steps
from tests.forked import SOAK
from tests.pages import DOCS, blocks
from tests.processes import free_port
from tests.stand_in import stand_in
from tests.test_docs import parse

PAGES = sorted(page.name for page in DOCS.glob("*.md"))
DATA = Path(__file__).resolve().parent / "data"
EXAMPLE_BUCKET = "s3://example-backups/taskdb"
PORT = "8000"
"""The port of `serve` on the pages."""


def is_for(step: Step, engine: str) -> bool:
    """Tell whether a command is run with an engine: SQLite leaves out what is for PostgreSQL only."""
    if step.output is None:
        return True
    return step.engines != "postgresql only" if engine == "sqlite" else step.engines.startswith("postgresql")


@pytest.fixture
def short_path():
    """Makes paths of nine characters that nobody else uses."""
    made = []

    def make() -> Path:
        made.append(Path("/tmp") / secrets.token_hex(2))
        # A collision is for the test to fail by, once in years.
        return made[-1]

    yield make
    for path in made:
        path.unlink() if path.is_symlink() else shutil.rmtree(path)


@pytest.fixture
def programs(tmp_path):
    """The directories with the programs of a page; its commands import nothing anew, except in the soak."""
    installed = Path(sys.executable).parent
    if SOAK:
        yield f"{installed}"
    else:
        with stand_in(tmp_path / "bin") as directory:
            yield f"{directory}:{installed}"


@pytest.fixture
def follow(short_path, request, make_url_of, programs):
    """Runs the commands of a page, and compares what a terminal shows."""

    def follow(page: str, engine: str) -> None:
        home, variables, own = short_path(), {"DATA": str(DATA)}, []
        home.mkdir()
        if "<!-- needs: s3 -->" in (DOCS / page).read_text(encoding="utf-8"):
            bucket = request.getfixturevalue("bucket")
            variables |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
            variables |= {"AWS_REGION": "us-east-1", "BUCKET": bucket.address}
            own.append((bucket.address, EXAMPLE_BUCKET))
        if engine != "sqlite":
            url: URL = make_url_of(engine)
            host = url.host
            if socket := url.query.get("host"):
                host = short_path()
                host.symlink_to(socket)
                url = url.update_query_dict({"host": str(host)})
            variables["TASKDB_DATABASE_URL"] = url.render_as_string(hide_password=False)
            own.append((f"{host}:{url.port or 5432}/{url.database}", "db.example.com:5432/work"))
        port = free_port()
        own += [(str(home), HOME), (f":{port}", f":{PORT}")]
        with TerminalShell(home, home, programs, variables) as shell:
            for step in read_steps(DOCS / page):
                if not is_for(step, engine):
                    continue
                command = step.command.replace(HOME, str(home)).replace(EXAMPLE_BUCKET, "$BUCKET")
                command = command.replace(PORT, str(port))
                printed, code = shell.run(command, step.answers)
                for here, there in own:
                    printed = printed.replace(here, there)
                assert "Traceback" not in printed
                if step.output is None:
                    assert code == 0, f"{step.command}\n{printed}"
                else:
                    assert is_shown(step.output, printed, wrapped=engine != "sqlite"), (
                        f"{page}: $ {step.command}\n--- shown:\n{printed}\n--- written:\n{step.output}"
                    )

    return follow


def pages_for(*engines: str) -> list[str]:
    """Name the pages with a block for one of these kinds of engines."""
    return [
        page
        for page in PAGES
        if any(step.output is not None and step.engines in engines for step in read_steps(DOCS / page))
    ]


@pytest.mark.soak
@pytest.mark.parametrize("page", pages_for("", "postgresql"))
def test_the_blocks_of_a_page(follow, page):
    """Each command of a page prints on a terminal what the page shows, on SQLite."""
    follow(page, "sqlite")


@pytest.mark.soak
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
        found += re.findall(r"(?<![\w./'=-])(?:/[\w./-]*/bin/)?(taskdb (?=[a-z-])[^&|;()<>\n]*)", text)
    # The last quote may be that of `sh -c '…'`.
    return sorted({line.rstrip("'") if line.count("'") % 2 else line for line in found})


@pytest.mark.parametrize("page", PAGES)
def test_the_other_blocks_of_a_page(page):
    """Every command and option in a block that cannot be run exists."""
    for line in command_lines(page):
        assert parse(shlex.split(line, comments=True)).startswith("taskdb "), line


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_with_an_example(page):
    """Something to type stands before the first section of each page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    assert re.search(r"^```(console|sh)$", text.partition("\n## ")[0], re.MULTILINE)


def test_a_difference_is_seen():
    """The comparison forgives times and sizes, and nothing else."""
    written = "task 1, due Fri 27 Nov 2026 23:59 (in 5 days)\nmonthly 2026-11\n…\nto a-…: 3 rows, 16.3 kB\n"
    printed = "task 1, due Mon 4 Jan 2027 23:59 (tomorrow)\nmonthly 2027-01\nx\ny\nto a-b: 3 rows, 7 kB\n"
    assert is_shown(written, printed)
    assert not is_shown(written, printed.replace("task 1", "task 2"))
    assert not is_shown(written, printed.replace("3 rows", "4 rows"))
    assert not is_shown(written, printed + "more\n")
