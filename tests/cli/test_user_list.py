"""taskdb user list, from the outside."""

import json

import pytest

from taskdb_cli.models.vocabulary import USER_FIELDS
from taskdb_cli.services import user as service
from taskdb_cli.services.listing.filters import USER_SORT_KEYS
from taskdb_cli.services.listing.pages import Order
from taskdb_cli.services.listing.query import UserFilter
from tests.listings import add_tasks, add_users, make_row

EMAILS = [f"user{number}@example.com" for number in range(7)]


@pytest.fixture
def filled(taskdb, database):
    """The command on a database with seven users: one inactive, one with two tasks, one with one."""
    database.write(lambda session: add_users(session, EMAILS))
    database.write(lambda session: add_tasks(session, [make_row(2), make_row(2), make_row(5)]))
    taskdb("user", "update", "3", "--inactive")
    return taskdb


def records(taskdb, *options):
    return json.loads(taskdb("user", "list", "-o", "json", *options).out)


def test_pages_lead_to_the_end(filled):
    """The printed cursors lead through all users by any sort, once each."""
    for sort in ("id", "-email", "name", "-created,email", "updated"):
        everything = [record["id"] for record in records(filled, "--sort", sort)]
        seen, after = [], []
        while True:
            result = filled("user", "list", "--sort", sort, "--limit", 3, "--fields", "id", *after)
            seen += [int(line) for line in result.out.splitlines()]
            if not result.err:
                break
            words = result.err.splitlines()[-1].split(" ")
            assert words[:2] == ["next:", "--after"]
            after = ["--after", words[2]]
        assert seen == everything
        assert sorted(seen) == list(range(1, 8))


def test_each_filter_option(filled):
    """Activity and search choose users, and --count says how many."""
    for options, ids in (
        (["--active"], [1, 2, 4, 5, 6, 7]),
        (["--inactive"], [3]),
        (["--search", "USER4"], [5]),
        (["--search", "%"], []),
        (["--active", "--search", "user2"], []),
        (["--limit", "0"], [1, 2, 3, 4, 5, 6, 7]),
    ):
        assert [record["id"] for record in records(filled, *options)] == ids
        assert filled("user", "list", "--count", *options).out == f"{len(ids)}\n"
    assert records(filled, "--count") == {"count": 7}


def test_counts_of_tasks(filled):
    """--with-counts adds how many tasks each has, none included; without it there is no such field."""
    assert [record["tasks"] for record in records(filled, "--with-counts")] == [0, 2, 0, 0, 1, 0, 0]
    assert [record["tasks"] for record in records(filled, "--with-counts", "--limit", 0)][1] == 2
    assert [list(record) for record in records(filled)] == [list(USER_FIELDS)] * 7
    assert filled("user", "list", "--with-counts", "--search", "user1").out.endswith("\t2\n")
    assert filled("user", "list", "--with-counts", "--fields", "tasks,id", "--active").out.startswith(
        "0\t1\n"
    )


def test_counts_take_one_statement(filled, database, statements):
    """However many users are listed, one statement counts their tasks."""
    order = Order.parse("id", USER_SORT_KEYS)

    def work(session):
        return service.find(session, UserFilter(), order, limit=50, with_counts=True)

    assert len(database.read(work).records) == 7
    assert len([statement for statement in statements if "FROM users" in statement]) == 1


def test_bad_options_say_what_is_accepted(filled):
    """A bad value exits 2 with one line that names what is accepted."""
    for options, named in (
        (["--limit", "-1"], "--limit takes a whole number from 0 to"),
        (["--sort", "tasks"], "id, email, name, created, updated"),
        (["--fields", "tasks"], ", ".join(USER_FIELDS)),
        (["--after", "garbage"], "cursor"),
        (["--search", "\udcff"], "search"),
    ):
        result = filled("user", "list", *options, expect=2)
        assert named in result.err
        assert result.out == ""
        assert result.err.count("\n") == 1
