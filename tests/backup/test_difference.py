"""What differs between two archives, or between an archive and a database, held to dictionaries of rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from random import Random

import pytest

from taskdb_cli.backup import create, restore
from taskdb_cli.backup.difference import Comparison, Side, comparing
from taskdb_cli.backup.stores.places import file_at
from taskdb_cli.database.content import Column, Layout
from taskdb_cli.errors import ArchiveCorrupt, DataCorrupt, SchemaDrift
from taskdb_cli.models.vocabulary import TaskPriority
from tests.backups import OLD_ROWS
from tests.conftest import NOW, open_database
from tests.contents import fill
from tests.schemas import execute

NAMES = Layout("tasks", (Column("id", "integer"), Column("title", "text")))


def side(text: bytes, *, size: int = 1 << 20, layout: Layout = NAMES) -> Side:
    """Make one side of this COPY text, which comes in chunks of a size."""

    def read() -> Iterator[bytes]:
        yield from (text[start : start + size] for start in range(0, len(text), size))

    return Side("here", {layout: read}, None, None)


def lines(rows: dict[int, str]) -> bytes:
    """Write rows as COPY text, in the order of their ids."""
    return "".join(f"{id}\t{rows[id]}\n" for id in sorted(rows)).encode()


def compared(old: Side, new: Side) -> tuple[dict[str, int], list[tuple]]:
    """Compare two sides; return the counts of tasks, and the details."""
    comparison = Comparison(old, new)
    found = [(each.id, each.change, each.old, each.new) for each in comparison.run(details=True)]
    quick = Comparison(old, new)
    assert list(quick.run()) == []
    assert quick.counts == comparison.counts
    assert comparison.is_equal == (not found)
    return {name: number for name, number in comparison.counts["tasks"].items() if number}, found


@pytest.mark.parametrize("seed", range(40))
def test_what_differs_is_what_dictionaries_say(seed):
    """Whatever rows two sides have, and wherever chunks end, the difference is that of two dictionaries."""
    random = Random(seed)
    width, share = random.choice((1, 5, 300)), random.choice((0, 0.02, 0.5, 1))
    old = {id: "x" * random.randrange(width) for id in range(-5, 200) if random.random() < 0.9}
    new = {id: f"{title}y" if random.random() < share else title for id, title in old.items()}
    for id in random.sample(sorted(new), int(len(new) * share)):
        del new[id]
    new |= {id: "new" for id in range(150, 150 + random.randrange(100)) if id not in old}
    expected = []
    for id in sorted(old.keys() | new.keys()):
        if id not in new:
            expected.append((id, "removed", {"id": id, "title": old[id]}, None))
        elif id not in old:
            expected.append((id, "added", None, {"id": id, "title": new[id]}))
        elif old[id] != new[id]:
            expected.append((id, "changed", {"title": old[id]}, {"title": new[id]}))
    counts, found = compared(
        side(lines(old), size=random.choice((1, 7, 4096))), side(lines(new), size=random.choice((3, 4096)))
    )
    assert found == expected
    changes = [change for _, change, _, _ in expected]
    counted = {name: changes.count(name) for name in ("added", "removed", "changed")}
    counted["unchanged"] = len(old) - counted["removed"] - counted["changed"]
    assert counts == {name: number for name, number in counted.items() if number}


def test_what_values_mean():
    """Fields are compared by name and by what they mean, so another order and another spelling are equal."""
    columns = [("id", "integer"), ("title", "text"), ("is_done", "boolean"), ("priority", "integer")]
    layout = Layout("tasks", tuple(Column(*each) for each in [*columns, ("due_at", "timestamp")]))
    turned = Layout("tasks", layout.columns[::-1])
    one = b"7\ta\\tb\\\\\tt\t3\t2026-11-22 12:30:15.5+00\n"
    same = b"2026-11-22 12:30:15.500+00\t3\tt\ta\\tb\\\\\t7\n"
    assert compared(side(one, layout=layout), side(same, layout=turned)) == ({"unchanged": 1}, [])
    other = b"7\ta\\nb\tf\t4\t\\N\n"
    [(_, change, old, new)] = compared(side(one, layout=layout), side(other, layout=layout))[1]
    assert (change, old["title"], new["title"], new["due_at"]) == ("changed", "a\tb\\", "a\nb", None)
    assert (old["priority"], new["priority"]) == (TaskPriority.HIGH, TaskPriority.URGENT)
    assert (old["is_done"], new["is_done"]) == (True, False)
    assert old["due_at"] == datetime.fromisoformat("2026-11-22T12:30:15.5+00:00")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"2\ta\n1\tb\n", id="order"),
        pytest.param(b"1\ta\n1\tb\n", id="twice"),
        pytest.param(b"1\ta\n2\ta", id="end"),
        pytest.param(b"x\ta\n", id="id"),
        pytest.param(b"1\t\xff\n", id="text"),
        pytest.param(b"1\ta\tb\n", id="fields"),
        pytest.param(b"1\t" + b"a" * (2 << 20) + b"\n", id="long"),
    ],
)
def test_rows_that_no_table_holds(text):
    """Rows that are malformed or out of order are damage, and nothing is called equal."""
    with pytest.raises(DataCorrupt):
        compared(side(text, size=1 << 16), side(b"0\tz\n9\tz\n"))


def test_other_columns():
    """Sides whose columns differ are not compared."""
    with pytest.raises(SchemaDrift):
        compared(side(b""), side(b"", layout=Layout("tasks", NAMES.columns[:1])))


def archive_of(url, path):
    """Back a database up into a file."""
    with open_database(url).snapshot() as content:
        return create.save(content, file_at(str(path)), label="work", now=NOW).file


def counts(old, new):
    """Compare two sources; return the number of added, removed and changed rows of each table."""
    with comparing(old, new) as comparison:
        list(comparison.run())
        return {
            table: tuple(counter[name] for name in ("added", "removed", "changed"))
            for table, counter in comparison.counts.items()
        }


def test_an_archive_and_the_database(database, url, make_url_of, tmp_path):
    """An archive equals its database and a copy on the other engine, until rows change."""
    fill(url, users=3, tasks=500)
    before = archive_of(url, tmp_path / "before.taskdb.zip")
    copy = make_url_of("sqlite")
    restore.restore(open_database(copy), database)
    for other in (database, open_database(copy), before):
        assert counts(before, other) == {"users": (0, 0, 0), "tasks": (0, 0, 0)}
    assert counts(before, archive_of(copy, tmp_path / "copy.taskdb.zip"))["tasks"] == (0, 0, 0)
    execute(url, "UPDATE users SET version = 2 WHERE id = 2", "DELETE FROM tasks WHERE id IN (1, 77, 500)")
    assert counts(before, database) == {"users": (0, 0, 1), "tasks": (0, 3, 0)}
    assert counts(database, before)["tasks"] == (3, 0, 0)
    assert counts(before, archive_of(url, tmp_path / "after.taskdb.zip"))["tasks"] == (0, 3, 0)


@pytest.mark.parametrize("engine", ["sqlite"])
def test_an_archive_of_an_older_revision(database, tmp_path):
    """An archive of an older revision is compared as it is restored."""
    old = file_at(str(OLD_ROWS))
    restore.restore(database, old)
    assert counts(old, database) == {"users": (0, 0, 0), "tasks": (0, 0, 0)}


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize("twice", [False, True])
def test_a_damaged_archive(database, url, tmp_path, twice):
    """A damaged side is an error before anything is compared, even if both are the same damaged file."""
    fill(url, users=3, tasks=500)
    good = archive_of(url, tmp_path / "good.taskdb.zip")
    path = tmp_path / "bad.taskdb.zip"
    data = bytearray((tmp_path / "good.taskdb.zip").read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    bad = file_at(str(path))
    for sides in [(bad, bad)] if twice else [(good, bad), (bad, good), (bad, database)]:
        with pytest.raises(ArchiveCorrupt):
            counts(*sides)
