"""Clients that cost the server memory, time or connections, by malice or by a bad line."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from taskdb_cli.api import listings
from taskdb_cli.services.query import TASK_SORT_KEYS, USER_SORT_KEYS
from tests.api.conftest import Api
from tests.conftest import NOW
from tests.samples import add_task, add_user

PAGE = 1024 * 1024
PRIORITIES = ("low", "medium", "high", "urgent")
DESCRIPTIONS = ("x" * 20_000, "\U0001f600" * 20_000, '"\\' * 10_000, "short", None)


def pages(api: Api, path: str, **query: object) -> Iterator[httpx.Response]:
    """Yield each page of a list."""
    while True:
        answer = api.get(path, params=query)
        assert answer.status_code == 200, answer.text
        yield answer
        query["after"] = answer.json()["next"]
        if query["after"] is None:
            return


def ids(answers: list[httpx.Response]) -> list[int]:
    return [item["id"] for answer in answers for item in answer.json()["items"]]


@pytest.mark.parametrize("limit", [60, 1000])
def test_a_page_has_at_most_one_mebibyte(api, database, limit):
    """A page of long descriptions ends early, and the next one goes on behind it."""
    add_user(database)
    made = [add_task(database, description=DESCRIPTIONS[number % 5]) for number in range(120)]
    found = list(pages(api, "/users/1/tasks", limit=limit, sort="id"))
    assert ids(found) == made
    assert max(len(answer.content) for answer in found) <= PAGE
    # A page that ended early has no room for another record.
    assert all(len(answer.content) > PAGE - 130_000 for answer in found[:-1])


@pytest.mark.parametrize("room", [1, 2500])
def test_short_pages_keep_the_order(api, database, monkeypatch, room):
    """By whatever sort, pages that end early hold each record once, in the order of one long page.

    A record that is larger than a page is on a page of its own.
    """
    for name in ("ann", "bob", "eve"):
        add_user(database, f"{name}@example.com")
    for number in range(24):
        due_at = NOW + timedelta(days=number // 4) if number % 3 else None
        owner = f"{('ann', 'bob', 'eve')[number % 3]}@example.com"
        add_task(database, owner, f"Task {number // 5}", due_at=due_at, priority=PRIORITIES[number % 4])
    lists = [("/tasks", key) for key in TASK_SORT_KEYS]
    lists += [("/tasks", f"-{key}") for key in TASK_SORT_KEYS]
    lists += [("/users", key) for key in USER_SORT_KEYS]
    for path, sort in lists:
        whole = ids([api.get(path, params={"sort": sort, "limit": 1000})])
        with monkeypatch.context() as patch:
            patch.setattr(listings, "_ROOM", room)
            short = list(pages(api, path, sort=sort, limit=1000))
        assert len(short) > 1 or (path, room) == ("/users", 2500)
        assert ids(short) == whole, (path, sort)


def test_an_ordinary_page_is_one_query(api, database, statements):
    """A page of the usual length is read as a whole, after the token was looked up."""
    add_user(database)
    for _ in range(60):
        add_task(database)
    del statements[:]
    assert len(api.get("/users/1/tasks").json()["items"]) == 50
    assert len([each for each in statements if "FROM tasks" in each]) == 1
