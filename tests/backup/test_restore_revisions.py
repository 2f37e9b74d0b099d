"""Archives and targets of other revisions: brought up to the newest one, or refused."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import make_url

from taskdb_cli import __version__
from taskdb_cli.backup import create as taking
from taskdb_cli.backup import restore
from taskdb_cli.backup.archive import manifest_of
from taskdb_cli.backup.layout import decode
from taskdb_cli.backup.stores.places import file_at
from taskdb_cli.database import schema
from taskdb_cli.database.schema import migrations_directory, revisions
from taskdb_cli.errors import SchemaAhead, SchemaBehind, TaskdbError
from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.services import migrate
from tests.archives import IDENTITY
from tests.conftest import NOW, PAIRS, open_database
from tests.contents import fill, get_rows, hashes
from tests.samples import add_task
from tests.schemas import execute, set_revision, write_revision

HEAD = revisions().get_current_head()
SAMPLES = sorted((Path(__file__).parents[1] / "data" / "0.1.0").glob("*.zip"))[::2]
EACH_PAIR = pytest.mark.parametrize(("origin", "engine"), PAIRS, indirect=["engine"])
ADD_NICKNAME = """
op.add_column("users", sa.Column("nickname", sa.Text))
op.execute("UPDATE users SET nickname = 'Dr ' || name")
"""


@pytest.fixture
def chain(tmp_path, monkeypatch):
    """A copy of the migrations with one more revision, which gives users a nickname."""
    directory = tmp_path / "migrations"
    shutil.copytree(migrations_directory(), directory, ignore=shutil.ignore_patterns("__pycache__"))
    write_revision(directory, "9001", after=HEAD, upgrade=ADD_NICKNAME)

    def use() -> None:
        monkeypatch.setattr(schema, "migrations_directory", lambda: directory)

    return use


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The directory of temporary files."""
    directory = tmp_path / "scratch"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


def archive_of(url, path):
    """Back a database up into a file."""
    with open_database(url).snapshot() as content:
        return taking.save(content, file_at(path), label="work", now=NOW)


@pytest.mark.soak
@EACH_PAIR
def test_an_archive_of_the_first_revision(make_url_of, empty_url, url, tmp_path, scratch, origin):  # noqa: PLR0917 (fixtures)
    """What was taken at the first revision is restored at the newest one, and its ids go on."""
    old = make_url_of(origin, migrated=False)
    migrate.upgrade(open_database(old), to="0001")
    fill(old)
    backup = archive_of(old, tmp_path / "old.taskdb.zip")
    assert backup.manifest.origin.revision == "0001"
    for target in (empty_url, url):
        restore.restore(open_database(target), backup.file)
        assert get_rows(target) == get_rows(old)
        migrate.check(open_database(target))
        assert add_task(open_database(target), "user1@example.com") == 3001
    assert list(scratch.iterdir()) == []


@pytest.mark.soak
@EACH_PAIR
def test_rows_are_migrated_on_their_way(make_url_of, empty_url, chain, tmp_path, scratch, origin):  # noqa: PLR0917 (fixtures)
    """An archive from before a revision that changes rows is restored as that revision leaves them."""
    old = make_url_of(origin)
    fill(old, users=3, tasks=9)
    backup = archive_of(old, tmp_path / "old.taskdb.zip")
    chain()
    restore.drill(backup.file)
    restore.restore(open_database(empty_url), backup.file)
    assert execute(empty_url, "SELECT nickname FROM users ORDER BY id") == [
        (f"Dr User {number}",) for number in (1, 2, 3)
    ]
    assert get_rows(empty_url) == get_rows(old)
    assert list(scratch.iterdir()) == []


def test_a_revision_that_fails_on_the_way(database, url, chain, tmp_path, scratch):
    """When the rows of an archive cannot be migrated, the target is as it was, and nothing is left over."""
    fill(url, users=3, tasks=9)
    backup = archive_of(url, tmp_path / "old.taskdb.zip")
    chain()
    migrate.upgrade(database)
    before = hashes(database)
    body = next((tmp_path / "migrations" / "versions").glob("9001*"))
    body.write_text(body.read_text().replace("'Dr ' || name", "no_such_column"))
    with pytest.raises(TaskdbError):
        restore.restore(database, backup.file, replace=True)
    assert hashes(database) == before
    assert list(scratch.iterdir()) == []


def test_an_archive_of_a_later_revision(database, url, empty_url, chain, tmp_path, scratch, monkeypatch):  # noqa: PLR0917 (fixtures)
    """An archive of a revision that is not known is refused, with the version that wrote it."""
    with monkeypatch.context() as later:
        later.setattr(schema, "migrations_directory", lambda: tmp_path / "migrations")
        migrate.upgrade(open_database(empty_url))
        fill_later = "UPDATE users SET nickname = 'x'"
        execute(empty_url, fill_later)
        backup = archive_of(empty_url, tmp_path / "new.taskdb.zip")
    fill(url, users=3, tasks=9)
    before = hashes(database)
    for act in (
        restore.preview(database, backup.file).__enter__,
        lambda: restore.restore(database, backup.file, replace=True),
        lambda: restore.drill(backup.file),
    ):
        with pytest.raises(SchemaAhead, match="9001") as failure:
            act()
        assert failure.value.exit_code == ExitCode.SCHEMA
        assert f"taskdb {__version__}" in failure.value.hint
    assert hashes(database) == before
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(("revision", "error"), [("0001", SchemaBehind), ("f00d", SchemaAhead)])
def test_a_target_of_another_revision(make_url_of, database, url, tmp_path, revision, error):  # noqa: PLR0917 (fixtures)
    """A target that is not at the newest revision is refused and left alone, whoever the rows are from."""
    source = make_url_of("sqlite")
    fill(source, users=3, tasks=9)
    backup = archive_of(source, tmp_path / "a.taskdb.zip")
    set_revision(url, revision)
    for act in (
        restore.preview(database, backup.file).__enter__,
        lambda: restore.look_at(database),
        lambda: restore.restore(database, backup.file, replace=True),
        lambda: restore.restore(database, open_database(source), replace=True),
    ):
        with pytest.raises(error) as failure:
            act()
        assert failure.value.exit_code == ExitCode.SCHEMA
    assert get_rows(url) == {"users": [], "tasks": []}


def test_a_target_that_becomes_older_meanwhile(database, url, tmp_path):
    """The tables of the target are compared with those of the archive when nobody can change them."""
    fill(url, users=3, tasks=9)
    backup = archive_of(url, tmp_path / "a.taskdb.zip")
    execute(url, "ALTER TABLE users ADD COLUMN nickname text")
    before = get_rows(url)
    with pytest.raises(TaskdbError) as failure:
        restore.restore(database, backup.file, replace=True)
    assert failure.value.exit_code == ExitCode.SCHEMA
    assert get_rows(url) == before


def test_an_origin_of_another_revision_is_not_copied(make_url_of, database, url):
    """Only a database at the newest revision is copied; one that is behind can still be backed up."""
    set_revision(url, "0001")
    with pytest.raises(SchemaBehind):
        restore.require_copyable(database, open_database(make_url_of("sqlite")))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name.partition("-")[0])
def test_an_archive_of_format_1(database, sample):
    """What 0.1.0 wrote is restored on every engine, row for row, with NULL in each column that is newer."""
    manifest = manifest_of(file_at(sample))
    assert (manifest.format, manifest.origin.identity, manifest.origin.place) == (1, None, None)
    restore.restore(database, file_at(sample))
    assert hashes(database, manifest) == {
        table.name: (table.rows, table.sha256) for table in manifest.counted
    }


@pytest.mark.parametrize("sample", SAMPLES[:1])
@pytest.mark.parametrize(
    "change", [{"identity": None, "place": None}, {"identity": IDENTITY}, {"place": "/app.sqlite3"}]
)
def test_format_1_has_no_other_keys(sample, change):
    """A manifest of format 1 that names a database is not one that 0.1.0 wrote."""
    text = json.dumps({**manifest_of(file_at(sample)).record(), **change}, indent=2).encode() + b"\n"
    with pytest.raises(ValueError, match="not written as taskdb writes it"):
        decode(text)


def test_what_an_archive_says_of_its_database(database, url, tmp_path):
    """The manifest names the identity and the place without user and password, even if a path is odd."""
    backup = archive_of(url, tmp_path / "one.taskdb.zip")
    origin = manifest_of(backup.file).origin
    assert origin == backup.manifest.origin
    assert [(origin.identity,)] == execute(url, "SELECT identity FROM taskdb_identity")
    assert origin.place == database.backend.place
    odd = make_url(f"sqlite:///{tmp_path}/a\nb.sqlite3")
    migrate.upgrade(open_database(odd))
    assert archive_of(odd, tmp_path / "odd.taskdb.zip").manifest.origin.place == (f"{tmp_path}/a\\nb.sqlite3")
