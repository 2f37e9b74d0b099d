"""Some rows of an archive: found wherever its text is cut, and brought back while others write."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from operator import attrgetter
from threading import Barrier

import pytest

from taskdb_cli.backup import create, partial_restore
from taskdb_cli.backup.archive import Archive
from taskdb_cli.backup.contents import open_user
from taskdb_cli.backup.partial_restore import open_selection
from taskdb_cli.backup.restore import archived_rows
from taskdb_cli.backup.row_lines import Lines
from taskdb_cli.backup.selection import UserSearch, rows_where
from taskdb_cli.backup.stores.places import file_at
from taskdb_cli.database.content import Column, Layout
from taskdb_cli.database.options import Options
from taskdb_cli.errors import DatabaseUnavailable, DataCorrupt, NotFound
from taskdb_cli.services import user
from tests.conftest import NOW, open_database
from tests.contents import fill, get_rows, get_rows_without_versions
from tests.samples import add_user

TASKS = Lines(Layout("tasks", tuple(Column(name, "integer") for name in ("id", "user_id", "title"))), "it")
IDS = (1, 2, 10, 12, 20, 21, 100, 112, 1121, 2**62)
TEXT = b"".join(b"%d\t%d\t1\\t2\\n12\n" % (id, owner) for id in IDS for owner in IDS)


def chunks(text, size):
    return (text[start : start + size] for start in range(0, len(text), size))


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_rows_are_found_wherever_the_text_is_cut(size):
    """Each id is found as a whole, in its own column, and nothing else."""
    wanted = {"id": {b"1", b"12", b"112"}, "user_id": {b"2", b"20", b"21", b"%d" % 2**62}}
    found = b"".join(rows_where(TASKS, chunks(TEXT, size), wanted))
    lines = [line.split(b"\t") for line in TEXT.splitlines(keepends=True)]
    expected = [row for row in lines if row[0] in wanted["id"] or row[1] in wanted["user_id"]]
    assert found == b"".join(map(b"\t".join, expected))
    assert not [*rows_where(TASKS, chunks(TEXT, size), {"id": set()})]


@pytest.mark.parametrize("text", [b"1\t2\t3", b"1\t2\t3\n4\t5", b"1\t" + b"x" * (3 << 20)])
def test_a_row_that_does_not_end(text):
    """Text that is cut off, or has a row without an end, is malformed."""
    with pytest.raises(DataCorrupt):
        [*rows_where(TASKS, chunks(text, 1 << 16), {"id": {b"1"}})]


def test_a_long_address_can_be_searched_for():
    """The length of an address does not matter."""
    users = Lines(Layout("users", (Column("id", "integer"), Column("email", "text"))), "it")
    email = f"{'a' * 60}@{'.'.join(['b' * 60] * 3)}.example"
    search = UserSearch([email, email.replace("a@", "c@"), range(1, 3)])
    assert b"".join(search.rows(users, [f"7\t{email}\n2\tx\n".encode()])) == f"7\t{email}\n2\tx\n".encode()
    with pytest.raises(NotFound):
        search.require("archive")


@pytest.fixture
def archive(url, tmp_path, database):
    """An archive with 20 users and 3,000 tasks, the first of whom is gone from the database."""
    fill(url)
    with database.snapshot() as content:
        backup = create.save(content, file_at(str(tmp_path / "work.taskdb.zip")), label="work", now=NOW)
    database.write(lambda session: user.remove(session, ["1"], now=NOW))
    return backup.file


def test_the_same_user_is_brought_back_twice_at_once(url, archive):
    """Two restores that begin with the same state both succeed, and each row comes back once."""
    ready = Barrier(2)

    def bring_back(_):
        database = open_database(url)
        with Archive.open(archive) as opened, open_selection(database, opened, users=["1"]) as selection:
            ready.wait(20)
            return selection.bring_back(replace=False, now=NOW)

    with ThreadPoolExecutor(2) as pool:
        reports = [*pool.map(bring_back, range(2))]
    assert sorted(report.restored["tasks"] for report in reports) == [0, 150]
    rows = get_rows(url)
    assert (len(rows["users"]), len(rows["tasks"])) == (20, 3000)


@pytest.mark.parametrize("engine", ["postgresql18"], indirect=True)
@pytest.mark.parametrize("at", ["_decide", "matching.find_holder", "give_ids"])
def test_the_user_comes_back_while_rows_are_compared(url, archive, monkeypatch, at):
    """Rows that another restore commits between two statements of the comparison come back once."""
    step, others = attrgetter(at)(partial_restore), []

    def bring_back():
        with Archive.open(archive) as opened, open_selection(open_database(url), opened, users=["1"]) as it:
            return it.bring_back(replace=False, now=NOW)

    def step_late(*given, **options):
        if not others:
            others.append(None)
            others[0] = bring_back()
        return step(*given, **options)

    with (
        Archive.open(archive) as opened,
        open_selection(open_database(url), opened, users=["1"]) as selection,
    ):
        monkeypatch.setattr(f"{partial_restore.__name__}.{at}", step_late)
        report = selection.bring_back(replace=False, now=NOW)
    assert (others[0].restored["tasks"], report.restored["tasks"], report.left["tasks"]) == (150, 0, 150)
    rows = get_rows(url)
    assert (len(rows["users"]), len(rows["tasks"])) == (20, 3000)


def test_somebody_takes_the_address_meanwhile(url, archive, database):
    """A user who is made between reading and writing is the one who gets the tasks."""
    with Archive.open(archive) as opened, open_selection(database, opened, users=["1"]) as selection:
        made = add_user(open_database(url), "user1@example.com")
        report = selection.bring_back(replace=False, now=NOW)
    assert (report.left["users"], report.restored["tasks"]) == (1, 150)
    assert sum(row[1] == made.id for row in get_rows(url)["tasks"]) == 150


def test_rows_that_others_hold_are_waited_for_in_vain(url, archive):
    """A row that another transaction keeps is exit 5, and nothing has changed."""
    before = get_rows(url)
    database = open_database(url, Options(lock_timeout=1, retry_budget=1))
    with ExitStack() as opened:
        found = opened.enter_context(Archive.open(archive))
        selection = opened.enter_context(open_selection(database, found, users=["1", "2"]))
        session = opened.enter_context(open_database(url)._session(database.backend.write_options))
        user.get(session, "2", lock=True)
        with pytest.raises(DatabaseUnavailable):
            selection.bring_back(replace=False, now=NOW)
    assert get_rows(url) == before


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_an_encrypted_archive(url, database, tmp_path):
    """Rows come back from an encrypted archive, and its user is listed, by an identity."""
    key = pytest.importorskip("pyrage").x25519.Identity.generate()
    fill(url)
    before = get_rows_without_versions(url)
    file = file_at(str(tmp_path / "work.taskdb.zip.age"))
    with database.snapshot() as content:
        create.save(content, file, label="work", now=NOW, recipients=(key.to_public(),))
    database.write(lambda session: user.remove(session, ["1"], now=NOW))
    with Archive.open(file, (key,)) as archive:
        with open_selection(database, archive, users=["1"]) as selection:
            selection.bring_back(replace=False, now=NOW)
        assert get_rows_without_versions(url) == before
        found, tasks = open_user(archived_rows(archive), "user1@example.com", file)
        assert (found["id"], len([*tasks])) == (1, 150)
