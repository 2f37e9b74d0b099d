"""Filters of tasks and users, on every engine, against the same rules in Python."""

import random
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskdb_cli.errors import InvalidInput, UserNotFound
from taskdb_cli.models.vocabulary import CLOSED_STATUSES, OPEN_STATUSES, TaskPriority, TaskStatus
from taskdb_cli.services import search
from taskdb_cli.services import task as service
from taskdb_cli.services import user as users
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS, USER_SORT_KEYS
from taskdb_cli.services.listing.pages import Order
from taskdb_cli.services.listing.query import SEARCH_LENGTH, TaskFilter, UserFilter
from tests.conftest import ENGINES, NOW
from tests.listings import add_tasks, add_users, everything, fill, make_row

ALPHABET = "%_\\/'\"*aAzZkKЖж\u212aéÉe\u0301İi\u0131ß\u017f\U0001f600 ["
HAYSTACKS = (
    "100% done",
    "50_50",
    r"C:\temp",
    "O'Brien",
    'say "hi"',
    "Éclair",
    "éclair",
    "İstanbul",
    "STRASSE",
    "straße",
    "e\u0301clair",
    "\U0001f600 smile",
    "a/b",
    "MiXeD Case",
    "plain",
    "//%%",
    "--; DROP",
    "Съешь ещё этих БУЛОК",
    "title: a* NEAR(b) AND ^c",
    '"""',
    "first\nsecond\tthird",
)
MICROSECOND = timedelta(microseconds=1)


def fill_few(database):
    fill(database, 150)


def fill_texts(database):
    chance = random.Random(3)
    texts = [*HAYSTACKS, *("".join(chance.choices(ALPHABET, k=chance.randrange(1, 7))) for _ in range(120))]
    rows = [make_row(1, f"<{' '.join(text.split())}>", chance.choice([None, *texts])) for text in texts]
    database.write(add_users)
    database.write(lambda session: add_tasks(session, rows))


def fill_indexed(database):
    fill_texts(database)
    search.on(database)


def matching(session, filter):
    order = Order.parse("id", TASK_SORT_KEYS)
    found = [record["id"] for record in service.stream(session, filter, order)]
    assert service.count(session, filter) == len(found)
    return found


def ascii_lower(text):
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in text)


CASES = {
    "nothing": (TaskFilter(), lambda _: True),
    "user by id": (TaskFilter(users=("2",)), lambda t: t["user_id"] == 2),
    "user by address": (TaskFilter(users=("BOB@Example.com",)), lambda t: t["user"] == "bob@example.com"),
    "users": (TaskFilter(users=("1", "cy@example.com")), lambda t: t["user_id"] in (1, 3)),
    "a user twice": (TaskFilter(users=("1", "ann@example.com")), lambda t: t["user_id"] == 1),
    "status": (TaskFilter(statuses=frozenset({TaskStatus.DONE})), lambda t: t["status"] == "done"),
    "open": (TaskFilter(statuses=OPEN_STATUSES), lambda t: t["status"] in ("todo", "in_progress")),
    "closed": (TaskFilter(statuses=CLOSED_STATUSES), lambda t: t["status"] in ("done", "cancelled")),
    "priority": (TaskFilter(priorities=frozenset({TaskPriority.HIGH})), lambda t: t["priority"] == 3),
    "priorities": (
        TaskFilter(priorities=frozenset({TaskPriority.LOW, TaskPriority.URGENT})),
        lambda t: t["priority"] in (1, 4),
    ),
    "no due": (TaskFilter(no_due=True), lambda t: t["due_at"] is None),
    "overdue": (
        TaskFilter(overdue_at=NOW),
        lambda t: t["status"] in ("todo", "in_progress") and t["due_at"] is not None and t["due_at"] < NOW,
    ),
    "overdue without due": (TaskFilter(overdue_at=NOW, no_due=True), lambda _: False),
    "all at once": (
        TaskFilter(users=("1", "2"), statuses=OPEN_STATUSES, due_after=NOW, created_before=NOW + MICROSECOND),
        lambda t: (
            t["user_id"] in (1, 2)
            and t["status"] in ("todo", "in_progress")
            and t["due_at"] is not None
            and t["due_at"] >= NOW
            and t["created_at"] <= NOW
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_filter_matches_what_it_says(engine, shared, case):
    """Each filter finds exactly the tasks of its rule."""
    filter, rule = CASES[case]

    def work(session):
        assert matching(session, filter) == [task["id"] for task in everything(session) if rule(task)]

    shared(engine, fill_few).read(work)


@pytest.mark.parametrize("name", ["due", "created", "updated", "completed"])
def test_before_is_exclusive_and_after_inclusive(engine, shared, name):
    """A range of times holds its beginning and not its end, to the microsecond, and nothing absent."""

    def work(session):
        moments = [task[f"{name}_at"] for task in everything(session)]
        for bound in (NOW - MICROSECOND, NOW, NOW + MICROSECOND):
            before = matching(session, TaskFilter(**{f"{name}_before": bound}))
            after = matching(session, TaskFilter(**{f"{name}_after": bound}))
            assert before == [id for id, at in enumerate(moments, 1) if at is not None and at < bound]
            assert after == [id for id, at in enumerate(moments, 1) if at is not None and at >= bound]
        assert NOW in moments

    shared(engine, fill_few).read(work)


@pytest.mark.parametrize("place", [*ENGINES, "sqlite with the search index"])
def test_search_is_literal(place, shared):
    """A search finds its text in title or description as it stands, but for the case of A to Z."""
    engine, _, indexed = place.partition(" ")
    database = shared(engine, fill_indexed if indexed else fill_texts)
    texts = st.one_of(
        st.text(ALPHABET, max_size=5),
        st.sampled_from(HAYSTACKS),
        st.text(max_size=4),
        st.sampled_from(HAYSTACKS).flatmap(
            lambda text: st.integers(0, len(text) - 1).map(lambda start: text[start : start + 4])
        ),
    )

    @settings(
        max_examples=200,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(text=texts.filter(lambda text: "\0" not in text), change=st.sampled_from([str, ascii_lower]))
    def check(text, change):
        wanted = ascii_lower(text)
        expected = [
            task["id"]
            for task in tasks
            if wanted in ascii_lower(task["title"]) or wanted in ascii_lower(task["description"] or "")
        ]
        assert matching(session, TaskFilter(search=change(text))) == expected

    with database.stream(lambda session: (each for each in [session])) as sessions:
        session = next(sessions)
        tasks = everything(session)
        check()


@pytest.mark.parametrize("text", ["a\0", "\0", "\udcff"])
def test_search_for_what_no_text_holds_is_refused(engine, shared, text):
    """Characters that cannot be stored cannot be looked for, on any engine."""
    for work in (
        lambda session: service.count(session, TaskFilter(search=text)),
        lambda session: users.count(session, UserFilter(search=text)),
    ):
        with pytest.raises(InvalidInput, match="search"):
            shared(engine, fill_texts).read(work)


@pytest.mark.parametrize("character", ["\U0001f600", "%", "/"])
def test_the_longest_search_works(engine, shared, character):
    """A search as long as is allowed, works on any engine, and a longer one is refused."""
    database = shared(engine, fill_texts)
    longest = TaskFilter(search=character * SEARCH_LENGTH)
    assert database.read(lambda session: matching(session, longest)) == []
    with pytest.raises(InvalidInput, match=f"{SEARCH_LENGTH + 1} characters"):
        database.read(lambda session: service.count(session, TaskFilter(search=longest.search + "x")))


@pytest.mark.parametrize("ref", ["99", "nobody@example.com", "no address", str(2**63)])
def test_an_unknown_user_is_not_found(engine, shared, ref):
    """A filter by a user who does not exist is an error, and no empty list."""
    order = Order.parse("id", TASK_SORT_KEYS)
    for work in (
        lambda session: service.find(session, TaskFilter(users=("1", ref)), order, limit=1),
        lambda session: service.count(session, TaskFilter(users=(ref,))),
        lambda session: list(service.stream(session, TaskFilter(users=(ref,)), order)),
        lambda session: service.explain(session, TaskFilter(users=(ref,)), order, limit=1),
    ):
        with pytest.raises(UserNotFound, match="not found"):
            shared(engine, fill_few).read(work)


def test_users_are_found_by_address_or_name(database):
    """A search of users looks at address and name, and goes with whether they are active."""
    database.write(add_users)
    order = Order.parse("-name", USER_SORT_KEYS)

    def names(filter):
        page = database.read(lambda session: users.find(session, filter, order, limit=9))
        assert database.read(lambda session: users.count(session, filter)) == len(page.records)
        return [record["name"] for record in page.records]

    assert names(UserFilter()) == ["Cy", "Bob", "Ann"]
    assert names(UserFilter(search="EXAMPLE.")) == ["Cy", "Bob", "Ann"]
    assert names(UserFilter(search="bOB")) == ["Bob"]
    assert names(UserFilter(search="b_b")) == []
    assert names(UserFilter(active=True, search="a")) == ["Cy", "Bob", "Ann"]
    assert names(UserFilter(active=False)) == []
