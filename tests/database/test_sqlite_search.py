"""The search index of a SQLite file: it has all rows whatever happens to them, or is not used."""

import json
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskdb_cli.database.sqlite import search as index
from taskdb_cli.database.sqlite.damage import find_damage
from taskdb_cli.errors import Conflict
from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.models.vocabulary import TaskStatus
from taskdb_cli.services import bulk, migrate, search
from taskdb_cli.services import task as service
from taskdb_cli.services.history import erasing
from taskdb_cli.services.listing import pages
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS, task_query
from taskdb_cli.services.listing.pages import Order
from taskdb_cli.services.listing.query import TaskFilter
from tests.conftest import NOW, open_database
from tests.disks import MEGABYTE, fill, small_disk
from tests.forked import run_forked
from tests.interruption import Places
from tests.listings import add_tasks, add_users, make_row
from tests.samples import add_task, add_user
from tests.schemas import STAMP, execute, write_revision

pytestmark = [
    pytest.mark.parametrize("engine", ["sqlite"], indirect=True),
    pytest.mark.usefixtures("isolated"),
]

HEAD = migrate.known_revisions()[-1]
PATIENCE = index.PATIENCE
MANY = 12_000
OTHERS = 400
"""So many tasks make one that matches few enough for the index."""

INSERT = (
    "INSERT INTO tasks (user_id, title, status, priority, version, created_at, updated_at)"
    f" VALUES (1, 'walrus', 'todo', 2, 1, '{STAMP}', '{STAMP}')"
)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Let searches soon ask the index: it would not be used for so few tasks."""
    monkeypatch.setattr(index, "PATIENCE", 1)


@pytest.fixture
def indexed(database):
    """A database with some tasks and the index."""
    database.write(add_users)
    rows = [make_row(1, f"Task {number}", f"About {number}") for number in range(OTHERS)]
    database.write(lambda session: add_tasks(session, rows))
    search.on(database)
    return database


def state(database):
    return database.read(search.status).index.state


def found(database, wanted, *, by_index=True):
    """Return the titles of the tasks that a search finds, and see whether it uses the index."""
    filter, order = TaskFilter(search=wanted), Order.parse("id", TASK_SORT_KEYS)
    [plan] = database.read(lambda session: service.explain(session, filter, order, limit=9))
    assert ("tasks: search index taskdb_search" in plan.reached) == by_index, plan
    page = database.read(lambda session: service.find(session, filter, order, limit=9))
    return [record["title"] for record in page.records]


def assert_fits(database):
    """Let the library compare the index with the rows, and see that it is on."""
    execute(database.url, "INSERT INTO taskdb_search (taskdb_search, rank) VALUES ('integrity-check', 1)")
    assert state(database) == "on"
    migrate.check(database)


def test_it_follows_every_change(indexed, taskdb):
    """What is created, changed, moved, deleted or undone is found as it is, by whatever command."""
    path = indexed.url.database
    taskdb("task", "create", "--user", "1", "A walrus", "--description", "on ice")
    assert found(indexed, "WALRUS") == ["A walrus"]
    taskdb("task", "update", OTHERS + 1, "--title", "A narwhal")
    assert (found(indexed, "walrus"), found(indexed, "narwhal")) == ([], ["A narwhal"])
    taskdb("task", "done", OTHERS + 1)
    execute(indexed.url, f"UPDATE tasks SET id = 9000 WHERE id = {OTHERS + 1}")
    assert found(indexed, "narwhal") == ["A narwhal"]
    taskdb("task", "delete", 9000, "--yes")
    assert found(indexed, "narwhal") == []
    taskdb("undo", "--yes")
    assert found(indexed, "narwhal") == ["A narwhal"]
    taskdb("task", "update", "--where-search", "About 1", "--title", "Renamed", "--yes")
    taskdb("user", "delete", "2", "--yes")
    assert_fits(indexed)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("DELETE FROM users WHERE id = 1")
        connection.commit()
    assert_fits(indexed)


def test_a_change_by_a_filter_uses_it(indexed):
    """What a search finds by the index is what a change by the same filter changes, and a removal removes."""
    add_task(indexed, title="A walrus")
    filter = TaskFilter(search="walrus")
    statements = indexed.read(lambda session: [str(each) for each in bulk._matching(session, filter)])
    assert any("MATCH" in each for each in statements)
    assert indexed.read(lambda session: bulk.preview_removal(session, filter)).count == 1
    indexed.write(lambda session: list(bulk.remove(session, filter)))
    assert found(indexed, "walrus") == []


@pytest.mark.parametrize(
    "fault",
    [
        ["DROP TRIGGER taskdb_search_insert", INSERT],
        ["DROP TRIGGER taskdb_search_delete"],
        ["DROP TRIGGER taskdb_search_update"],
        ["DROP TABLE taskdb_search"],
        ["DROP TABLE taskdb_search", "CREATE VIRTUAL TABLE taskdb_search USING fts5(title)"],
        [
            "DROP TRIGGER taskdb_search_insert",
            "CREATE TRIGGER taskdb_search_insert AFTER INSERT ON tasks BEGIN SELECT 1; END",
            INSERT,
        ],
    ],
    ids=["insert", "delete", "update", "table", "another table", "another trigger"],
)
def test_a_part_that_is_missing_or_altered(indexed, taskdb, fault):
    """An index that may lack rows is incomplete, answers no search, and can be built anew or dropped."""
    fault = [each for each in fault if each is not INSERT]
    execute(indexed.url, *fault)
    inserting = suppress(sqlite3.OperationalError)
    with inserting:
        execute(indexed.url, INSERT)
    wanted = execute(indexed.url, "SELECT title FROM tasks WHERE title = 'walrus'")
    assert found(indexed, "walrus", by_index=False) == [title for (title,) in wanted]
    assert state(indexed) == "incomplete"
    assert taskdb("search", "status").out.startswith("incomplete\t")
    taskdb("search", "on")
    assert_fits(indexed)
    assert len(found(indexed, "walrus")) == len(wanted)
    execute(indexed.url, *fault)
    taskdb("search", "off")
    assert state(indexed) == "off"


def test_an_index_that_lacks_rows_is_found(indexed):
    """Rows that were written without the triggers, which were there again afterwards, make it incomplete."""
    [(trigger,)] = execute(indexed.url, "SELECT sql FROM sqlite_master WHERE name = 'taskdb_search_insert'")
    execute(indexed.url, "DROP TRIGGER taskdb_search_insert", INSERT, trigger)
    assert indexed.read(search.status).index.problem == f"it does not find task {OTHERS + 1}"
    search.on(indexed)
    assert found(indexed, "walrus") == ["walrus"]


@pytest.mark.parametrize(
    "fault",
    [
        "UPDATE taskdb_search_data SET block = x'00ff00ff' WHERE id > 10",
        "DELETE FROM taskdb_search_data WHERE id = 10",
        "DELETE FROM taskdb_search_data",
        "UPDATE taskdb_search_data SET block = zeroblob(3) WHERE id = 10",
        "DROP TABLE taskdb_search_data",
        "DROP TABLE taskdb_search_idx",
        "DROP TABLE taskdb_search_config",
        "UPDATE taskdb_search_config SET v = 99",
        "DROP TABLE taskdb_search",
    ],
)
def test_a_damaged_index_is_not_used(indexed, taskdb, fault):
    """A search reads the rows where the index is damaged. Writes name the way out: on, off or a restore."""
    add_task(indexed, title="A walrus")
    archive = indexed.backend.file().with_suffix(".zip")
    execute(indexed.url, fault)
    assert found(indexed, "walrus", by_index=False) == ["A walrus"]
    assert indexed.read(lambda session: service.count(session, TaskFilter(search="walrus"))) == 1
    assert state(indexed) == "incomplete"
    [check] = json.loads(taskdb("health", "--only", "indexes", "-o", "json", expect=2).out)["checks"]
    assert (check["status"], "search on" in check["remedy"]) == ("critical", True)
    assert find_damage(indexed.backend.file()) == ""
    # A new text may not come to the part that is damaged.
    failed = taskdb("task", "create", "--user", "1", "Later", expect=None)
    assert failed.code == ("id > 10" not in fault) * ExitCode.CORRUPT
    assert ("search off" in failed.err) == bool(failed.code)
    taskdb("backup", "--file", archive)
    taskdb("restore", archive, "--replace", "--yes", "--dry-run")
    assert state(indexed) == "incomplete"
    taskdb("restore", archive, "--replace", "--yes")
    assert found(indexed, "walrus") == ["A walrus"]
    assert_fits(indexed)
    execute(indexed.url, fault)
    search.on(indexed)
    assert found(indexed, "walrus") == ["A walrus"]
    execute(indexed.url, fault)
    search.off(indexed)
    migrate.check(indexed)


def test_a_damaged_index_without_tasks(database, taskdb):
    """What nothing can be looked for in is seen to be damaged nevertheless."""
    add_user(database)
    search.on(database)
    execute(database.url, "DROP TABLE taskdb_search_config")
    assert state(database) == "incomplete"
    search.on(database)
    taskdb("task", "create", "--user", "1", "A walrus")
    assert_fits(database)


def test_a_text_that_is_damaged(indexed):
    """A text that cannot be decoded is no fault of the index, and does not stop a search for others."""
    add_task(indexed, title="A walrus")
    damaged = "UPDATE tasks SET title = CAST(x'ff414243' AS TEXT) WHERE id IN (1, 2, 399, 400)"
    execute(indexed.url, "PRAGMA ignore_check_constraints = ON", damaged)
    assert found(indexed, "walrus") == ["A walrus"]
    assert state(indexed) == "on"


def test_names_of_others_are_left_alone(database, url, taskdb, tmp_path):
    """A table or trigger of somebody else that has a name of the index is named, and stays."""
    execute(url, "CREATE TABLE taskdb_search (x)")
    for change in (search.on, search.off):
        with pytest.raises(Conflict, match=r"table taskdb_search .* is not part"):
            change(database)
    taskdb("backup", "--file", tmp_path / "all.zip")
    taskdb("restore", tmp_path / "all.zip", "--replace", "--yes")
    execute(url, "DROP TABLE taskdb_search")
    execute(url, "CREATE TRIGGER taskdb_search_update AFTER INSERT ON users BEGIN SELECT 1; END")
    with pytest.raises(Conflict, match="trigger taskdb_search_update"):
        search.on(database)
    assert execute(url, "SELECT count(*) FROM sqlite_master WHERE name LIKE 'taskdb_search%'") == [(1,)]


def test_a_library_without_fts5(indexed, taskdb):
    """Without the module nothing that reads fails, a write says what to do, and then works."""
    add_task(indexed, title="A walrus")
    execute(
        indexed.url,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = replace(sql, 'fts5', 'fts9') WHERE name = 'taskdb_search'",
    )
    assert "A walrus" in taskdb("task", "list", "--search", "walrus").out
    assert "incomplete" in taskdb("search", "status").out
    taskdb("migrate", "check")
    taskdb("task", "done", "1")
    failed = taskdb("task", "create", "--user", "1", "Later", expect=6)
    assert "search off" in failed.err
    taskdb("search", "off")
    taskdb("task", "create", "--user", "1", "Later")
    assert state(indexed) == "off"
    taskdb("migrate", "check")


@pytest.mark.parametrize("part", ["fts5", "trigram"])
def test_a_library_that_cannot_build_it(database, taskdb, monkeypatch, part):
    """Without FTS5 or its trigrams nothing is built, and the error says what it takes: 6."""
    monkeypatch.setattr(index, "_TRIAL", index._TRIAL.replace(part, "absent"))
    failed = taskdb("search", "on", expect=6)
    assert "absent" in failed.err
    assert "SQLite 3.34 or later" in failed.err
    assert state(database) == "off"


@pytest.mark.parametrize("by", ["csv", "restore", "partial restore", "copy", "undo"])
@pytest.mark.usefixtures("shelf")
def test_many_rows_at_once(indexed, new_url, taskdb, tmp_path, by):
    """However many rows come in at once, all are found afterwards, and nothing else is."""
    source = open_database(new_url())
    source.write(add_users)
    source.write(lambda session: add_tasks(session, (make_row(2, f"Walrus number {n}") for n in range(MANY))))
    at = f"sqlite:///{source.url.database}"
    search.on(source)
    if by == "csv":
        exported = taskdb("--database-url", at, "task", "export", "-o", "csv").out
        (tmp_path / "tasks.csv").write_text(exported)
        taskdb("task", "import", tmp_path / "tasks.csv")
    elif by == "copy":
        taskdb(
            "--database-url", at, "copy", "--to", f"sqlite:///{indexed.url.database}", "--replace", "--yes"
        )
    elif by == "undo":
        taskdb("--database-url", at, "user", "delete", "2", "--yes")
        taskdb("--database-url", at, "undo", "--yes")
        indexed = source
    else:
        taskdb("--database-url", at, "backup", "--file", tmp_path / "all.zip")
        options = ["--only-user", "bob@example.com"] if by == "partial restore" else ["--replace"]
        taskdb("restore", tmp_path / "all.zip", *options, "--dry-run")
        assert_fits(indexed)
        taskdb("restore", tmp_path / "all.zip", *options, "--yes")
    assert_fits(indexed)
    assert found(indexed, "WALRUS NUMBER 11999") == ["Walrus number 11999"]
    assert len(found(indexed, "About 399")) == (by in {"csv", "partial restore"})


def test_a_restore_gives_no_index(database, new_url, taskdb, tmp_path):
    """A database without it stays so, and a new file has none, although the one of the archive had it."""
    source = open_database(new_url())
    add_user(source)
    search.on(source)
    taskdb("--database-url", f"sqlite:///{source.url.database}", "backup", "--file", tmp_path / "a.zip")
    taskdb("backup", "verify", "--drill", tmp_path / "a.zip")
    taskdb("restore", tmp_path / "a.zip", "--yes")
    assert state(database) == "off"
    taskdb("--database-url", f"sqlite:///{tmp_path}/new.sqlite3", "restore", tmp_path / "a.zip", "--yes")
    assert taskdb("--database-url", f"sqlite:///{tmp_path}/new.sqlite3", "search", "status").out.startswith(
        "off"
    )


def test_a_restore_suspects_others(indexed):
    """Of the triggers that may have changed restored rows, those of the index are none."""
    theirs = "CREATE TRIGGER theirs AFTER INSERT ON tasks BEGIN SELECT 1; END"
    execute(
        indexed.url,
        theirs,
        "DROP TRIGGER taskdb_search_delete",
        theirs.replace("theirs", "taskdb_search_delete"),
    )
    with indexed.replacement(dry_run=True) as content:
        assert content.triggers() == ["trigger theirs on tasks", "trigger taskdb_search_delete on tasks"]


def test_migrations_keep_it(indexed, chain):
    """After a rebuild of tasks, and after the way through all revisions, it is on and finds all rows."""
    rebuild = f"""
        op.execute("UPDATE tasks SET title = 'A walrus' WHERE id = 1")
        with helpers.alter_table("tasks", at="{HEAD}") as batch:
            batch.add_column(sa.Column("more", sa.Text))
        op.execute("UPDATE tasks SET title = 'A narwhal' WHERE id = 2")
        op.drop_column("tasks", "more")
    """
    write_revision(chain, "9001", after=HEAD, upgrade=rebuild)
    migrate.upgrade(indexed)
    assert found(indexed, "walrus") == ["A walrus"]
    assert found(indexed, "narwhal") == ["A narwhal"]
    for _ in migrate.known_revisions()[1:]:
        migrate.downgrade(indexed)
        with indexed.connect() as connection:
            assert indexed.backend.search_index(connection).state == "on"
    migrate.upgrade(indexed)
    assert found(indexed, "walrus") == ["A walrus"]
    assert len(found(indexed, "About 39")) == 9
    migrate.downgrade(indexed, to="base")
    assert execute(indexed.url, "SELECT count(*) FROM sqlite_master WHERE name LIKE 'taskdb_search%'") == [
        (0,)
    ]
    migrate.upgrade(indexed)
    assert state(indexed) == "off"


def test_a_migration_that_fails_keeps_it(indexed, chain):
    """A revision that fails after it rebuilt tasks leaves the index as it was."""
    rebuild = f"""
        with helpers.alter_table("tasks", at="{HEAD}") as batch:
            batch.add_column(sa.Column("more", sa.Text))
        raise RuntimeError
    """
    write_revision(chain, "9001", after=HEAD, upgrade=rebuild)
    with pytest.raises(RuntimeError):
        migrate.upgrade(indexed)
    add_task(indexed, title="A walrus")
    assert found(indexed, "walrus") == ["A walrus"]


@pytest.mark.parametrize("whole", [True, False], ids=["on", "incomplete"])
def test_nothing_of_an_erased_user_stays(indexed, whole):
    """After an erasure neither the file nor the index has a part of a text of the user."""
    add_user(indexed, "eve@example.com")
    for _ in range(20):
        add_task(indexed, "eve@example.com", title="qjxzvkq", description="wqvxjzq")
    trigrams = [word[place : place + 3].encode() for word in ("qjxzvkq", "wqvxjzq") for place in range(5)]
    path = indexed.backend.file()
    if not whole:
        execute(indexed.url, "DROP TRIGGER taskdb_search_delete")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert any(each in path.read_bytes() for each in trigrams)
    indexed.write(lambda session: erasing.erase(session, "eve@example.com"))
    erasing.wipe(indexed)
    kept = b"".join(each.read_bytes() for each in path.parent.iterdir() if each.name.startswith(path.name))
    assert [each for each in (*trigrams, b"qjx", b"zvk") if each in kept] == []
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE VIRTUAL TABLE temp.words USING fts5vocab(main, taskdb_search, row)")
        words = {word for (word,) in connection.execute("SELECT term FROM temp.words")}
    assert not words & {each.decode() for each in trigrams}
    assert "abo" in words


def test_a_build_that_is_killed_leaves_nothing(indexed, tmp_path):
    """Wherever a build is killed, the index is on or off, and the next command goes on from there."""
    search.off(indexed)
    shutil.copy(str(indexed.url.database), tmp_path / "before.sqlite3")
    places = Places(tmp_path, "--database-url", indexed.url, "search", "on")
    assert places.run().code == 0
    for place in places.spread(12):
        search.off(indexed)
        places.stop(place)
        assert state(indexed) in {"on", "off"}
        search.on(indexed)
        assert_fits(indexed)


def test_two_builds_at_once(indexed):
    """The second of two builds waits for the first, and finds it done."""
    search.off(indexed)
    words = ("--database-url", indexed.url, "search", "on")
    with ThreadPoolExecutor(2) as threads:
        ends = [*threads.map(lambda _: run_forked(*words), range(2))]
    assert [end.returncode for end in ends] == [0, 0], ends
    assert_fits(indexed)


def test_a_full_disk(indexed, tmp_path):
    """A build that the disk has no room for leaves nothing, and works when there is room."""
    search.off(indexed)
    with small_disk(tmp_path / "disk", 2 * MEGABYTE) as disk:
        path = disk.place / "taskdb.sqlite3"
        shutil.move(str(indexed.url.database), disk.outside / path.name)
        fill(disk.outside)
        failed = disk.taskdb("--database-url", f"sqlite:///{path}", "search", "on")
        (disk.outside / "ballast").unlink()
        status = disk.taskdb("--database-url", f"sqlite:///{path}", "search", "status")
        done = disk.taskdb("--database-url", f"sqlite:///{path}", "search", "on")
    assert failed.returncode == 1
    assert "full" in failed.stderr
    assert status.stdout.startswith("off")
    assert done.returncode == 0, done.stderr


def test_a_file_that_cannot_be_written(indexed, taskdb):
    """A file that is read only is searched by its index, and status says that it is on."""
    add_task(indexed, title="A walrus")
    execute(indexed.url, "PRAGMA journal_mode = DELETE")
    path = indexed.backend.file()
    path.chmod(0o444)
    assert found(indexed, "walrus") == ["A walrus"]
    assert taskdb("search", "status").out.startswith("on\t")


def test_a_search_without_trigrams(indexed):
    """Two characters, and a text that most tasks have, are looked for in the rows."""
    assert len(found(indexed, "39", by_index=False)) == 9
    assert len(found(indexed, "task", by_index=False)) == 9
    assert found(indexed, "about 39")[0] == "Task 39"


def test_all_tasks_that_match(indexed):
    """All of more tasks than a page has are found by the index, but not a text that most tasks have."""
    rows = [make_row(1, "A whale", "About it") for _ in range(1600)]
    rows += [make_row(number % 2 + 1, f"A walrus {number}") for number in range(120)]
    indexed.write(lambda session: add_tasks(session, rows))
    order = Order.parse("-created", TASK_SORT_KEYS)
    for wanted, limit, users, by_index, count in (
        ("walrus", 9, (), False, 120),
        ("walrus", 0, (), True, 120),
        ("walrus", 0, ("1",), True, 60),
        ("walrus", 0, ("2",), False, 60),
        ("about", 0, (), False, 2000),
    ):
        filter = TaskFilter(search=wanted, users=users)
        [plan] = indexed.read(lambda session: service.explain(session, filter, order, limit=limit))  # noqa: B023
        assert ("tasks: search index taskdb_search" in plan.reached) == by_index, (wanted, limit, users)
        assert len(indexed.read(lambda session: [*service.stream(session, filter, order)])) == count  # noqa: B023
        assert indexed.read(lambda session: service.count(session, filter)) == count  # noqa: B023


def test_pages_are_the_same(indexed, monkeypatch):
    """Wherever a search goes over to the index, its pages together have the rows of one without it, once."""
    rows = [
        make_row(
            number % 2 + 1,
            "A walrus" if number < 4 or number > 380 else f"A narwhal {number}",
            status="done" if number % 3 else "todo",
            due=NOW + timedelta(days=number % 50) if number % 5 else None,
        )
        for number in range(OTHERS)
    ]
    indexed.write(lambda session: add_tasks(session, rows))

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(
        wanted=st.sampled_from(["walrus", "narwhal 7", "narwhal", "About 11", "a", "absent"]),
        order=st.sampled_from(["id", "-created", "due", "-due,title", "title", "-status,created"]),
        users=st.sampled_from([(), ("1",), ("1", "2")]),
        statuses=st.sampled_from([frozenset(), frozenset({TaskStatus.DONE})]),
        limit=st.sampled_from([9, 50, 200]),
        skip=st.sampled_from([0, 0, 3, 30, 900]),
        patience=st.sampled_from([1, 600, 3000]),
        early=st.booleans(),
    )
    def check(wanted, order, users, statuses, limit, skip, patience, early):  # noqa: PLR0917
        monkeypatch.setattr(index, "PATIENCE", patience)
        filter, order = TaskFilter(users, statuses, search=wanted), Order.parse(order, TASK_SORT_KEYS)
        plain = task_query(filter, [int(user) for user in users])
        expected = [*pages.stream(session, plain, order)][skip:]
        found, after = [], None
        while True:
            asked = []

            def fits(record):
                asked.append(record)  # noqa: B023
                return len(asked) == 1 or record["id"] % 40 > 0  # noqa: B023

            page = service.find(
                session, filter, order, limit=limit, after=after, skip=skip, fits=fits if early else None
            )
            if early:
                assert page.records == asked[: max(len(asked) - 1, len(page.records))]
            found += page.records
            after, skip = page.next, 0
            if after is None:
                break
        assert found == expected

    with indexed.stream(lambda session: (each for each in [session])) as sessions:
        session = next(sessions)
        check()


def test_a_frequent_text_needs_no_index(indexed, monkeypatch):
    """A page that is found soon, or whose next rows are, is read without the index; a rare text is not."""
    rows = [make_row(1, "A walrus" if number % 100 == 0 else "A whale") for number in range(4000)]
    indexed.write(lambda session: add_tasks(session, [*rows, make_row(1, "A narwhal")]))
    monkeypatch.setattr(index, "PATIENCE", PATIENCE)
    assert len(found(indexed, "walrus", by_index=False)) == 9
    assert found(indexed, "narwhal") == ["A narwhal"]


def test_tasks_of_a_user_who_has_few(indexed):
    """The few tasks of a user are read as they are, and those of one with many by the index."""
    add_task(indexed, "bob@example.com", title="A walrus")
    add_task(indexed, "ann@example.com", title="A walrus")
    order = Order.parse("-created", TASK_SORT_KEYS)
    for users, by_index in ((("1",), True), (("2",), False), (("1", "2"), True)):
        filter = TaskFilter(users=users, search="walrus")
        plans = indexed.read(lambda session: service.explain(session, filter, order, limit=9))  # noqa: B023
        reached = {"tasks: search index taskdb_search", "tasks: primary key"}
        assert [reached <= {*plan.reached} for plan in plans] == [by_index], plans
        assert indexed.read(lambda session: service.count(session, filter)) == len(users)  # noqa: B023


def test_a_search_with_quotes(indexed):
    """Quotes in texts, and in what is searched for, are characters as others are."""
    add_task(indexed, title='A "walrus"', description='"" OR "')
    for wanted in ('"walrus"', '"" or', 'a "'):
        assert found(indexed, wanted) == ['A "walrus"']
    assert state(indexed) == "on"
