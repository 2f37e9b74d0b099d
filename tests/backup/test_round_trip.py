"""Any engine to any engine, and back out again: the rows are the same, whatever is in them."""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from taskdb_cli.backup import create as taking
from taskdb_cli.backup import restore
from taskdb_cli.backup.stores.places import file_at
from taskdb_cli.database.schema import ARCHIVED_TABLES, LEFT_OUT_TABLES, VERSION_TABLE
from taskdb_cli.errors import DataCorrupt, IdsUsedUp
from taskdb_cli.models import metadata
from tests.conftest import ENGINES, NOW, PAIRS, open_database
from tests.contents import complete, get_rows, hashes, put_rows
from tests.samples import add_task, add_user, task_records
from tests.schemas import execute

EXAMPLES = 100 if os.environ.get("TASKDB_SOAK") == "1" else 2
EACH_PAIR = pytest.mark.parametrize(("origin", "destination"), PAIRS)

LARGEST_ID = 2**63 - 2
"""Of the ids that a restore takes: one is left behind it."""

LARGEST_VERSION = 2**31 - 1
FIRST = datetime(1, 1, 1, tzinfo=UTC)
LAST = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)

AWKWARD = [
    r"\N",
    r"\\N",
    r"\.",
    "\\",
    r"a\tb",
    "'",
    '"',
    '""',
    "%s",
    "{}",
    "NULL",
    "\U0001f469\u200d\U0001f4bb",
    "e\u0301\u0323",
    "\u202eright\u202c \u05e9\u05dc\u05d5\u05dd \u0627",
    "\u2028",
    "\ufeff",
    "\U0010ffff",
    " x ",
]
AWKWARD_LINES = [*AWKWARD, "", "\t", "\n", "\r", "\r\n", "\n\\.\n", "a\tb\nc\rd\\", "x" * 20_000]


def lines(longest: int) -> st.SearchStrategy[str]:
    """Texts on one line that are not blank."""
    any_character = st.text(
        st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=longest
    )
    return (st.sampled_from(AWKWARD) | any_character).filter(lambda text: text.strip(" "))


TEXTS = st.sampled_from(AWKWARD_LINES) | st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), include_characters="\t\n\r\\"), max_size=100
)
IDS = st.integers(1, LARGEST_ID) | st.just(LARGEST_ID) | st.integers(1, 9)
VERSIONS = st.just(1) | st.integers(1, LARGEST_VERSION) | st.just(LARGEST_VERSION)
MOMENTS = st.datetimes(timezones=st.just(UTC)) | st.sampled_from(
    [FIRST, LAST, NOW.replace(microsecond=0), NOW.replace(microsecond=100_000)]
)
ADDRESSES = lines(60).map(lambda text: "".join(c for c in text if not "A" <= c <= "Z") + "@x")


@st.composite
def contents(draw: st.DrawFn) -> dict[str, list[tuple]]:
    """Rows that the rules of the tables admit."""
    users = draw(
        st.lists(
            st.tuples(IDS, ADDRESSES, lines(200), st.booleans(), VERSIONS, MOMENTS, MOMENTS),
            max_size=5,
            unique_by=(lambda row: row[0], lambda row: row[1]),
        )
    )
    if not users:
        return {"users": [], "tasks": []}
    owners = st.sampled_from([row[0] for row in users])
    states = st.tuples(st.sampled_from(["todo", "in_progress", "cancelled"]), st.none()) | st.tuples(
        st.just("done"), MOMENTS
    )
    tasks = st.tuples(
        IDS,
        owners,
        st.none() | lines(200),
        lines(500),
        st.none() | TEXTS,
        states,
        st.integers(1, 4),
        st.none() | MOMENTS,
        VERSIONS,
        MOMENTS,
        MOMENTS,
    )
    rows = draw(
        st.lists(
            tasks,
            max_size=8,
            unique_by=(lambda row: row[0], lambda row: row[1:3] if row[2] is not None else row[0]),
        )
    )
    users = [complete("users", row) for row in sorted(users, key=first)]
    return {"users": users, "tasks": [stored(row) for row in sorted(rows, key=first)]}


def first(row: tuple) -> int:
    return row[0]


def stored(row: tuple) -> tuple:
    """Return a task as the columns have it: its state is two of them."""
    id, owner, external_id, title, description, (status, completed), priority, due, *rest = row
    given = (id, owner, external_id, title, description, status, priority, due, completed, *rest)
    return complete("tasks", given)


def every_awkward_thing() -> dict[str, list[tuple]]:
    """Return rows with each of the texts, the times and the numbers that once made trouble somewhere."""
    users = [
        (1, "a@x", "A", True, 1, FIRST, LAST),
        (LARGEST_ID - 1, "b@x", r"\N", False, LARGEST_VERSION, LAST, FIRST),
    ]
    names = [*AWKWARD, *[None] * len(AWKWARD_LINES)]
    tasks = [
        (number, 1, name, line, text, "todo", 1, None, None, 1, FIRST, NOW.replace(microsecond=120))
        for number, (name, line, text) in enumerate(
            zip(names, itertools.cycle(AWKWARD), AWKWARD_LINES, strict=False), 1
        )
    ]
    last = (LARGEST_ID, LARGEST_ID - 1, None, "x" * 500, None, "done", 4, LAST, FIRST, LARGEST_VERSION)
    tasks = [complete("tasks", row) for row in (*tasks, (*last, LAST, NOW))]
    return {"users": [complete("users", row) for row in users], "tasks": tasks}


EMPTY = {"users": [], "tasks": []}


@pytest.mark.soak
@EACH_PAIR
def test_round_trip(make_url_of, tmp_path, origin, destination):
    """Rows come out of a copy and of an archive as they went in, and hash to the same."""
    source, copied, restored = (make_url_of(engine) for engine in (origin, destination, destination))
    numbers = itertools.count()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        # Shrinking an example of this size takes minutes, and says little more.
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(contents())
    @example(every_awkward_thing())
    @example(EMPTY)
    def run(rows):
        put_rows(source, rows)
        expected = hashes(open_database(source))
        path = tmp_path / f"{next(numbers)}.taskdb.zip"
        with open_database(source).snapshot() as content:
            backup = taking.save(content, file_at(path), label="work", now=NOW)
        restore.restore(open_database(copied), open_database(source), replace=True)
        restore.restore(open_database(restored), file_at(path), replace=True)
        for target in (copied, restored):
            assert get_rows(target) == rows
            assert hashes(open_database(target)) == expected
        assert {table.name: (table.rows, table.sha256) for table in backup.manifest.counted} == expected

    run()


@pytest.mark.soak
@EACH_PAIR
def test_new_ids_follow_the_highest(make_url_of, origin, destination):
    """What is made after a restore gets ids that no row has, nor had in the target before."""
    source, target = make_url_of(origin), make_url_of(destination)
    for number in range(3):
        add_user(open_database(target), f"old{number}@example.com")
    rows = every_awkward_thing()
    low = {"users": rows["users"][:1], "tasks": rows["tasks"][:-1]}
    put_rows(source, low)
    restore.restore(open_database(target), open_database(source), replace=True)
    assert add_user(open_database(target), "new@example.com").id == 4
    assert add_task(open_database(target), "new@example.com") == len(low["tasks"]) + 1


def test_the_last_id(make_url_of, database, url, engine):
    """Behind the highest id that a restore takes there is one more; then they are used up, which is told."""
    put_rows(url, every_awkward_thing())
    target = open_database(make_url_of(engine))
    restore.restore(target, database)
    assert add_task(target, "1") == LARGEST_ID + 1
    with pytest.raises(IdsUsedUp, match="tasks"):
        add_task(target, "1")
    assert len(task_records(target)) == len(every_awkward_thing()["tasks"]) + 1


@pytest.mark.parametrize("id", [0, -(2**63)])
def test_ids_that_no_identity_gives(make_url_of, url, id):
    """Rows that somebody numbered by hand, from below 1, are restored; new ids begin at 1."""
    source, target = make_url_of("sqlite"), url
    put_rows(source, {"users": [(id, "a@x", "A", True, 1, NOW, NOW)], "tasks": []})
    restore.restore(open_database(target), open_database(source))
    assert get_rows(target) == get_rows(source)
    assert add_user(open_database(target)).id == 1


def test_text_that_is_no_utf8_is_found_by_the_backup(make_url_of, tmp_path):
    """What could never be restored is no backup, and its table is named."""
    url = make_url_of("sqlite")
    put_rows(url, {"users": [(1, "a@x", "A", True, 1, NOW, NOW)], "tasks": []})
    execute(url, "UPDATE users SET name = CAST(x'61ff' AS TEXT)")
    with open_database(url).snapshot() as content, pytest.raises(DataCorrupt, match="users"):
        taking.save(content, file_at(tmp_path / "no.taskdb.zip"), label="work", now=NOW)
    assert not list(tmp_path.glob("*.zip"))


@pytest.mark.parametrize("engine", ENGINES[1:], indirect=True)
@pytest.mark.parametrize(
    "setting",
    [
        "DateStyle = 'SQL, DMY'",
        "DateStyle = 'German'",
        "client_encoding = 'LATIN1'",
        "TimeZone = 'Asia/Tokyo'",
    ],
)
def test_settings_of_a_database_do_not_change_its_text(url, make_url_of, engine, setting):
    """Times and letters are written and read alike, whatever an administrator has set."""
    target = make_url_of(engine)
    put_rows(url, every_awkward_thing())
    expected = hashes(open_database(url))
    for each in (url, target):
        execute(each, f'ALTER DATABASE "{each.database}" SET {setting}')
    file = make_url_of("sqlite")
    restore.restore(open_database(target), open_database(url))
    restore.restore(open_database(file), open_database(target))
    execute(target, f'ALTER DATABASE "{target.database}" RESET ALL')
    assert get_rows(target) == get_rows(file) == every_awkward_thing()
    assert hashes(open_database(target)) == hashes(open_database(file)) == expected


def test_every_table_is_archived_or_left_out_on_purpose():
    """A table that the models get is either in the archive, after its parents, or said to be left out."""
    tables = metadata().tables
    assert set(tables) == {*ARCHIVED_TABLES, *LEFT_OUT_TABLES}
    assert not set(ARCHIVED_TABLES) & LEFT_OUT_TABLES
    for number, name in enumerate(ARCHIVED_TABLES):
        parents = {key.column.table.name for key in tables[name].foreign_keys} - {name}
        assert parents <= set(ARCHIVED_TABLES[:number]), name


def test_both_engines_lay_out_rows_alike(make_url_of):
    """Every column of every table is archived, in one order, as the same type on every engine."""
    layouts = []
    for engine in ENGINES:
        database = open_database(make_url_of(engine))
        with database.connect() as connection:
            layouts.append(database.backend.content(connection).layouts)
    assert all(each == layouts[0] for each in layouts)
    found = {layout.table: list(layout.names) for layout in layouts[0]}
    assert found == {
        name: [column.name for column in metadata().tables[name].columns] for name in ARCHIVED_TABLES
    }
    assert VERSION_TABLE not in found
