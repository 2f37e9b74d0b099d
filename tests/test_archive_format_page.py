"""docs/archive-format.md opens an archive without taskdb."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.conftest import SERVERS, open_database
from tests.contents import get_rows
from tests.pages import blocks
from tests.samples import add_task, add_user

TEXT = "Tab\t, new\nline, back\\slash, \\N, ü"
[SQL, SQL_OF_TASKDB] = [block.text for block in blocks("archive-format.md", "sql")]
[PROGRAM] = [block.text for block in blocks("archive-format.md", "python")]
[CONVERT] = [block.text for block in blocks("archive-format.md", "sh")]

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("unzip", "zstd", "psql"))), reason="needs unzip, zstd and psql"
)


@pytest.fixture
def source(make_url_of, taskdb, monkeypatch, tmp_path) -> URL:
    """A database whose archive lies in the working directory."""
    monkeypatch.chdir(tmp_path)
    url = make_url_of("sqlite")
    database = open_database(url)
    for email in ("ann@example.com", "bob@example.com"):
        add_user(database, email)
        add_task(database, email, "Write", description=TEXT)
        add_task(database, email, "Read")
    taskdb("--database-url", str(url), "backup", "--file", "app.taskdb.zip")
    return url


def run(*command: str, **options: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


@pytest.mark.parametrize("engine", SERVERS, indirect=True)
@pytest.mark.parametrize(("sql", "migrated"), [(SQL, False), (SQL_OF_TASKDB, True)], ids=["bare", "taskdb"])
def test_psql_loads_an_archive(source, new_url, sql, migrated):
    """Tables of somebody else and those of taskdb are filled by psql; taskdb goes on with the next id."""
    url = new_url(migrated=migrated)
    run("psql", "-v", "ON_ERROR_STOP=1", url.render_as_string(hide_password=False), input=sql)
    assert get_rows(url) == get_rows(source)
    if migrated:
        assert add_task(open_database(url)) == 5


def test_python_writes_csv(source):
    """The program writes each value of the rows, and nothing for NULL."""
    Path("to_csv.py").write_text(PROGRAM)
    run("sh", "-c", CONVERT.replace("python3", sys.executable))
    written = list(csv.reader(io.StringIO(Path("tasks.csv").read_text(), newline="")))
    expected = [("", row[3], row[4] or "") for row in get_rows(source)["tasks"]]
    assert [(row[2], row[3], row[4]) for row in written] == expected
