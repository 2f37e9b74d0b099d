"""taskdb restore --only-user and --only-task, and backup show --user, from the outside."""

import json
from datetime import timedelta

import pytest

from taskdb_cli.exit_codes import ExitCode
from tests.backups import OLD_ROWS
from tests.conftest import NOW, TaskdbCommand
from tests.contents import fill, get_rows, get_rows_without_versions
from tests.samples import add_task, add_token, add_user, emails, task_records, titles, user_records
from tests.schemas import execute

ANN, BOB = "ann@example.com", "bob@example.com"


@pytest.fixture
def archived(taskdb: TaskdbCommand, database, shelf) -> list[dict]:
    """What a backup of the database has: Ann with three tasks, and Bob with one."""
    for email in (ANN, BOB):
        add_user(database, email)
    add_task(database, title="Write\\and read", description="two\nlines", external_id="a")
    add_task(database, title="Read", due_at=NOW)
    add_task(database, BOB, title="Sing")
    add_task(database, title="Done", status="done", priority="urgent")
    add_token(database, "Ann's", ANN)
    taskdb("backup")
    return task_records(database)


def put_in(url, table, id, moment="2026-11-27T10:00:00.000000Z", **values):
    """Insert a row with its id, past taskdb."""
    sqlite = url.drivername == "sqlite"
    values = {"id": id, "version": 1, "created_at": f"'{moment}'", "updated_at": f"'{moment}'"} | values
    overriding = "" if sqlite else "OVERRIDING SYSTEM VALUE"
    names, all_values = ", ".join(values), ", ".join(map(str, values.values()))
    execute(url, f"INSERT INTO {table} ({names}) {overriding} VALUES ({all_values})")


def next_versions(records, **of):
    """Return the records, those with such values at the next version."""
    return [each | {"version": each["version"] + (of.items() <= each.items())} for each in records]


def rows_of(result):
    return [(row["kind"], row["outcome"], row["archived_id"], row["id"]) for row in json.loads(result.out)]


def test_a_user_comes_back(taskdb, database, archived):
    """A user comes back with their tasks and without tokens, each at the next version; the rest is left."""
    users = user_records(database)
    taskdb("user", "delete", ANN, "--yes")
    newer = add_task(database, BOB, title="Newer")
    before = task_records(database)
    trial = taskdb("restore", "latest", "--only-user", ANN, "--dry-run", "-o", "json")
    assert task_records(database) == before
    result = taskdb("restore", "latest", "--only-user", ANN, "-o", "json")
    assert result.out == trial.out
    ids = [record["id"] for record in archived if record["user"] == ANN]
    assert rows_of(result) == [("user", "restored", 1, 1), *(("task", "restored", id, id) for id in ids)]
    assert "1 user and 3 tasks" in result.err
    rest = [each for each in task_records(database) if each["id"] != newer]
    assert rest == next_versions(archived, user=ANN)
    assert user_records(database) == next_versions(users, email=ANN)
    assert json.loads(taskdb("token", "list", "-o", "json").out) == []
    again = taskdb("restore", "latest", "--only-user", "1", "-o", "ndjson")
    assert again.out.count('"left"') == 4
    assert add_task(database, title="Next") > newer
    taskdb("migrate", "check")


def test_what_differs_is_left_or_replaced(taskdb, database, archived, shelf):
    """Rows that differ stay, or with --replace are asked about, saved and replaced with a new version."""
    taskdb("task", "update", "1", "--title", "Changed")
    taskdb("task", "update", "1", "--title", "Changed again")
    taskdb("user", "update", ANN, "--name", "Other")
    left = taskdb("restore", "latest", "--only-user", ANN)
    assert "1 user and 1 task differ from the archive; --replace restores" in left.err
    asked = taskdb("restore", "latest", "--only-user", ANN, "--replace", expect=ExitCode.REFUSED)
    assert "replace 1 user and 1 task" in asked.err
    assert titles(database)[0] == "Changed again"
    assert not list(shelf.glob("*-before-restore-*"))
    taskdb("restore", "latest", "--only-user", ANN, "--replace", "--yes")
    first, *others = task_records(database)
    assert first["version"] == 4
    assert first["updated_at"] > archived[0]["updated_at"]
    kept = {"version": first["version"], "updated_at": first["updated_at"]}
    assert [first, *others] == [archived[0] | kept, *archived[1:]]
    assert user_records(database)[0]["name"] == "Ann"
    assert len(list(shelf.glob("*-before-restore-*.zip"))) == 1
    unchanged = taskdb("restore", "latest", "--only-user", ANN, "--replace")
    assert "nothing" in unchanged.err


def test_an_id_that_something_else_has(taskdb, database, archived, url):
    """A user or task whose id is taken gets a new one, and is known again by the next restore."""
    taskdb("user", "delete", ANN, "--yes")
    true = "1" if url.drivername == "sqlite" else "true"
    put_in(url, "users", 1, email="'eve@example.com'", name="'Eve'", is_active=true)
    put_in(url, "tasks", 2, user_id=1, title="'Else'", status="'todo'", priority=2)
    trial = taskdb("restore", "latest", "--only-user", ANN, "--dry-run", "-o", "json")
    assert ("user", "restored", 1, None) in rows_of(trial)
    rows = rows_of(taskdb("restore", "latest", "--only-user", ANN, "-o", "json"))
    assert rows == [
        ("user", "restored", 1, 3),
        ("task", "restored", 1, 1),
        ("task", "restored", 2, 5),
        ("task", "restored", 4, 4),
    ]
    assert sorted(each["title"] for each in task_records(database) if each["user"] == ANN) == [
        "Done",
        "Read",
        "Write\\and read",
    ]
    again = rows_of(taskdb("restore", "latest", "--only-user", ANN, "-o", "json"))
    assert {outcome for _, outcome, _, _ in again} == {"left"}
    assert len(task_records(database)) == 5


def test_a_user_who_was_made_anew_gets_the_tasks(taskdb, database, archived):
    """Somebody with the address is the same user under another id, and has tasks by their external ids."""
    taskdb("user", "delete", ANN, "--yes")
    add_user(database, ANN)
    mine = add_task(database, title="Mine", external_id="a")
    rows = rows_of(taskdb("restore", "latest", "--only-user", ANN, "-o", "json"))
    assert rows[:2] == [("user", "left", 1, 3), ("task", "left", 1, mine)]
    assert {each["user_id"] for each in task_records(database) if each["user"] == ANN} == {3}


def test_single_tasks_come_back(taskdb, database, archived):
    """Tasks come back to an owner who is there; else the error names --only-user, and so does a way out."""
    taskdb("task", "delete", "1,2,3", "--yes")
    taskdb("restore", "latest", "--only-task", "2-3")
    assert [each["id"] for each in task_records(database)] == [2, 3, 4]
    taskdb("user", "delete", ANN, "--yes")
    gone = taskdb("restore", "latest", "--only-task", "1,3", expect=ExitCode.NOT_FOUND)
    assert f"--only-user {ANN}" in gone.err
    taskdb("restore", "latest", "--only-task", "3", "--only-user", ANN)
    versions = {1: 2, 2: 3, 3: 2, 4: 2}
    assert task_records(database) == [each | {"version": versions[each["id"]]} for each in archived]
    missing = taskdb("restore", "latest", "--only-task", "77", expect=ExitCode.NOT_FOUND)
    assert "77" in missing.err
    near = taskdb("restore", "latest", "--only-user", "an@example.com", expect=ExitCode.NOT_FOUND)
    assert ANN in near.err
    taskdb("restore", "latest", "--only-task", "x", expect=ExitCode.USAGE)
    taskdb("restore", "latest", "-o", "json", expect=ExitCode.USAGE)


def test_what_has_changed_hands_since(taskdb, database, archived):
    """An address or external id that another row has now is a conflict with --replace, not a broken rule."""
    taskdb("user", "update", ANN, "--email", "lee@example.com")
    add_user(database, ANN)
    refused = taskdb("restore", "latest", "--only-user", "1", "--replace", "--yes", expect=ExitCode.CONFLICT)
    assert ANN in refused.err
    left = taskdb("restore", "latest", "--only-user", "1", "-o", "json")
    assert {row["user"] for row in json.loads(left.out)} == {"lee@example.com"}
    assert ANN in left.err
    assert "--replace" not in left.err
    assert emails(database) == ["lee@example.com", BOB, ANN]
    taskdb("task", "update", "1", "--user", BOB)
    replace = ("restore", "latest", "--only-task", "1", "--replace", "--yes", "-o", "json")
    assert [row["user"] for row in json.loads(taskdb(*replace, "--dry-run").out)] == ["lee@example.com"]
    add_task(database, "lee@example.com", title="Another", external_id="a")
    taskdb(*replace, expect=ExitCode.CONFLICT)
    assert "--replace" not in taskdb("restore", "latest", "--only-task", "1").err


def test_an_archived_row_that_is_gone_while_another_has_its_value(taskdb, database, archived, url):
    """A row is the same as one archived row at most; the other comes back only once its value is free."""
    taskdb("user", "delete", BOB, "--yes")
    taskdb("user", "update", ANN, "--email", BOB)
    both = ("restore", "latest", "--only-user", "1,2")
    for trial in ((), ("--dry-run",)):
        refused = taskdb(*both, *trial, expect=ExitCode.CONFLICT)
        assert f"user 1 now has the address {BOB} of the archived user 2" in refused.err
    assert emails(database) == [BOB]
    taskdb(*both, "--replace", "--yes", "--no-safety-backup")
    assert emails(database) == [ANN, BOB]
    assert [(each["id"], each["user"]) for each in task_records(database)] == [
        (each["id"], each["user"]) for each in archived
    ]
    add_task(database, title="Fifth", external_id="e")
    taskdb("backup")
    taskdb("task", "delete", "5", "--yes")
    execute(url, "UPDATE tasks SET external_id = 'e' WHERE id = 1")
    refused = taskdb("restore", "latest", "--only-task", "1,5", expect=ExitCode.CONFLICT)
    assert "task 1 now has the external id" in refused.err
    taskdb("restore", "latest", "--only-task", "1,5", "--replace", "--yes", "--no-safety-backup")
    assert [(each["id"], each["external_id"]) for each in task_records(database)][::4] == [(1, "a"), (5, "e")]


def test_tasks_that_are_alike(taskdb, database, archived, url):
    """Of tasks that only their ids tell apart, as many come back as are missing."""
    ids = [
        add_task(database, title="Alike", description=each, created_at=NOW) for each in ("x", None, "y", None)
    ]
    taskdb("backup")
    execute(url, f"UPDATE tasks SET created_at = '2026-01-01T00:00:00.000000Z' WHERE id >= {ids[0]}")
    only = ("restore", "latest", "--only-user", ANN, "-o", "json")

    def known() -> list[int]:
        return [row["id"] for row in json.loads(taskdb(*only).out) if row["archived_id"] in ids]

    made = known()
    assert len({*made, *ids}) == 8
    assert known() == made
    taskdb("task", "delete", f"{made[0]},{made[1]}", "--yes")
    again = known()
    assert again[2] == made[2]
    assert len({*again}) == 4
    assert made[3] in again
    assert not {made[0], made[1]} & {*again}


def test_a_unique_index_of_somebody_else(taskdb, database, archived, url):
    """A value that breaks it is exit 4 at once, because no attempt can succeed."""
    taskdb("task", "delete", "2", "--yes")
    execute(url, "UPDATE tasks SET title = 'Read' WHERE id = 3")
    execute(url, "CREATE UNIQUE INDEX theirs ON tasks (title)")
    refused = taskdb("restore", "latest", "--only-task", "2", expect=ExitCode.CONFLICT)
    assert "meanwhile" not in refused.err


def test_another_databases_archive(taskdb, archived, shelf, new_url, use):
    """It is refused without --from-other-database, and then new ids follow those of its rows."""
    use(other := new_url())
    execute(other, "UPDATE taskdb_identity SET identity = '00000000-0000-4000-8000-000000000000'")
    [archive] = shelf.glob("*.zip")
    before = get_rows(other)
    taskdb("restore", archive, "--only-user", ANN, expect=ExitCode.CONFLICT)
    assert get_rows(other) == before
    taskdb("restore", archive, "--only-user", ANN, "--from-other-database")
    made = json.loads(taskdb("task", "create", "--user", ANN, "Next", "-o", "json").out)
    assert made["id"] == 5


def test_an_archive_of_the_first_revision(taskdb, database):
    """Rows of an older revision are migrated before they are brought back."""
    result = taskdb("restore", OLD_ROWS, "--only-user", "1", "--from-other-database", "-o", "json")
    assert len(rows_of(result)) == len(task_records(database)) + 1 > 1


def test_a_database_without_tables(bare_taskdb, archived, empty_url, use):
    """Rows are not brought back into a database that is missing (3) or has no tables (6)."""
    use(empty_url)
    code = ExitCode.NOT_FOUND if empty_url.drivername == "sqlite" else ExitCode.SCHEMA
    bare_taskdb("restore", "latest", "--only-user", ANN, expect=code)


def test_a_damaged_archive_brings_nothing_back(taskdb, database, archived, shelf):
    """An archive whose seal does not match is exit 7."""
    [archive] = shelf.glob("*.zip")
    data = bytearray(archive.read_bytes())
    data[100] ^= 1
    archive.write_bytes(data)
    taskdb("user", "delete", ANN, "--yes")
    taskdb("restore", archive, "--only-user", ANN, expect=ExitCode.CORRUPT)
    assert emails(database) == [BOB]


def test_many_rows(taskdb, database, url, shelf):
    """One of many users comes back exactly, and all of them do."""
    fill(url, users=20, tasks=4000)
    before = get_rows_without_versions(url)
    taskdb("backup")
    taskdb("user", "delete", "3,4", "--yes")
    taskdb("restore", "latest", "--only-user", "user4@example.com", "--only-user", "3")
    assert get_rows_without_versions(url) == before
    taskdb("user", "delete", "1-20", "--yes")
    taskdb("restore", "latest", "--only-user", "1-20")
    assert get_rows_without_versions(url) == before


def test_what_an_archive_holds_of_a_user(taskdb, database, archived):
    """The tasks of a user in an archive are listed as 'task list' does, without a restore."""
    mine = [each for each in archived if each["user"] == ANN]
    taskdb("user", "delete", ANN, "--yes")
    listed = json.loads(taskdb("backup", "show", "latest", "--user", ANN, "-o", "json").out)
    taskdb("restore", "latest", "--only-user", ANN)
    found = json.loads(taskdb("task", "list", "-u", ANN, "--sort", "id", "-o", "json").out)
    assert listed == [each | {"version": 1} for each in found]
    assert len(listed) == len(mine)
    by_id = taskdb("backup", "show", "latest", "--user", "2", "-o", "csv")
    assert "Sing" in by_id.out
    assert BOB in by_id.err
    assert "Sing" in taskdb("backup", "show", "latest", "--user", BOB, "-o", "table").out
    taskdb("backup", "show", "latest", "--user", "nobody@example.com", expect=ExitCode.NOT_FOUND)


def test_a_name_is_not_confused_with_another(taskdb, database, shelf):
    """Ids and addresses are compared as a whole, in their own columns."""
    for number in range(1, 13):
        add_user(database, f"{number}@example.com", name="1")
        add_task(database, f"{number}@example.com", title="1 2", created_at=NOW - timedelta(days=number))
    taskdb("backup")
    rows = rows_of(
        taskdb("restore", "latest", "--only-user", "1", "--only-user", "12@example.com", "-o", "json")
    )
    assert [(kind, id) for kind, _, id, _ in rows] == [("user", 1), ("user", 12), ("task", 1), ("task", 12)]
