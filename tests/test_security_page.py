"""The roles of docs/security.md can do what the page says, and no more."""

from __future__ import annotations

import re

import pytest

from tests.conftest import SERVERS, connect
from tests.pages import blocks
from tests.samples import add_task, add_user

CREATION, GRANTS = (block.text for block in blocks("security.md", "sql"))
ANN = "ann@example.com"


@pytest.fixture
def role_urls(url, database):
    """The addresses of a database for the roles of the page, in the order in which it creates them."""
    add_user(database, ANN)
    add_task(database, ANN, "Pay the rent")
    # Roles belong to the server, and so to other tests too.
    creation, grants = (
        re.sub(r"\b(taskdb_(?:writer|reader))\b", rf"\1_{url.database}", text) for text in (CREATION, GRANTS)
    )
    roles = re.findall(r"CREATE ROLE (\w+)", creation)
    with connect(url) as connection:
        connection.execute(creation)
        for _ in range(2):
            connection.execute(grants)
        yield [url.set(username=role) for role in roles]
        for role in roles:
            connection.execute(f'DROP OWNED BY "{role}"')
            connection.execute(f'DROP ROLE "{role}"')


@pytest.mark.parametrize("engine", SERVERS[-1:], indirect=True)
def test_the_roles(bare_taskdb, role_urls, tmp_path):
    """The writer changes rows and undoes a deletion; the reader lists and backs up, and changes nothing."""
    writer, reader = (("--database-url", each.render_as_string(hide_password=False)) for each in role_urls)
    for command in (["task", "done", "1"], ["user", "delete", ANN, "--yes"], ["undo", "--yes"]):
        bare_taskdb(*writer, *command)
    assert "Pay the rent" in bare_taskdb(*reader, "task", "list").out
    bare_taskdb(*reader, "backup", "--drill", "--dir", tmp_path / "archives")
    bare_taskdb(*reader, "health", "--only", "constraints")
    assert "permission denied" in bare_taskdb(*reader, "task", "start", "1", expect=1).err


@pytest.mark.parametrize("engine", SERVERS[-1:], indirect=True)
def test_the_reader(bare_taskdb, role_urls, tmp_path, monkeypatch):
    """The reader runs every command that changes nothing, and each other one says what is not permitted."""
    reader = ("--database-url", role_urls[1].render_as_string(hide_password=False))
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(tmp_path))
    for command in (
        ["user", "list"],
        ["user", "show", "1"],
        ["user", "history", "1"],
        ["user", "export", ANN, "--everything"],
        ["task", "show", "1"],
        ["task", "history", "1"],
        ["task", "export"],
        ["task", "list", "--explain"],
        ["token", "list"],
        ["stats"],
        ["history"],
        ["history", "show", "1"],
        ["search", "status"],
        ["migrate", "status"],
        ["migrate", "check"],
        ["backup"],
        ["backup", "verify", "latest"],
        ["health", "--only", "identity", "--only", "identity_left", "--only", "rules", "--only", "access"],
    ):
        assert "permission" not in bare_taskdb(*reader, *command).err
    for command, words in (
        (["task", "delete", "1", "--yes"], "permission denied for table tasks"),
        (
            ["user", "create", "--email", "bob@example.com", "--name", "Bob"],
            "permission denied for table users",
        ),
        (["undo", "--yes"], "permission denied"),
        (["search", "on"], "may not change the indexes"),
        (["migrate", "down", "--yes"], "does not own"),
        (["restore", "latest", "--replace", "--yes"], "which owns the tables"),
    ):
        told = bare_taskdb(*reader, *command, expect=1).err
        assert words in told
        assert "backed up" not in told
