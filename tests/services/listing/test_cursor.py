"""Cursors: what they carry, and how they refuse what is not theirs."""

import string
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus
from taskdb_cli.services.listing.cursor import decode, encode
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS
from taskdb_cli.services.listing.pages import Order
from tests.conftest import NOW
from tests.forgery import forged

LISTING = {"sort": "-due", "user": ["ann@example.com"]}
ORDER = Order.parse("due,completed,user", TASK_SORT_KEYS)
CURSOR = encode((datetime(2026, 12, 1, 17, 0, 0, 1, tzinfo=UTC), None, "zoë {'\"\\", 7), NOW, LISTING)
TITLES = Order.parse("title", TASK_SORT_KEYS)
MOMENTS = st.datetimes(timezones=st.just(UTC))
LINES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=200)
VALUES = {
    "id": st.integers(1, 2**63 - 1),
    "title": LINES,
    "status": st.sampled_from(TaskStatus),
    "priority": st.sampled_from(TaskPriority),
    "due": st.none() | MOMENTS,
    "created": MOMENTS,
    "updated": MOMENTS,
    "completed": st.none() | MOMENTS,
    "user": LINES,
}


@given(data=st.data(), keys=st.lists(st.sampled_from([*VALUES]), min_size=1, unique=True), now=MOMENTS)
def test_every_value_comes_back(data, keys, now):
    """A cursor returns the position and the time that it was made of, in characters safe in a shell."""
    keys = [*(key for key in keys if key != "id"), "id"]
    position = data.draw(st.tuples(*(VALUES[key] for key in keys)))
    text = encode(position, now, LISTING)
    assert decode(text, LISTING, Order.parse(",".join(keys), TASK_SORT_KEYS)) == (position, now)
    assert set(text) <= set(string.ascii_letters + string.digits + "-_")


@pytest.mark.parametrize("length", [1, 500])
def test_the_longest_values_come_back(length):
    """A cursor of the longest title, of whatever characters, is not too long."""
    for character in ("x", '"', "\N{GRINNING FACE}"):
        position = (character * length, 2**63 - 1)
        assert decode(encode(position, NOW, LISTING), LISTING, TITLES)[0] == position


@pytest.mark.soak
@pytest.mark.parametrize("sort", ["title", "due,id", "status,priority", "completed,user", "id"])
def test_forged_cursors_are_refused(sort):
    """A cursor with the right checksum and a value that no record has is refused."""
    order = Order.parse(sort, TASK_SORT_KEYS)
    for text in forged(LISTING, order, number=500):
        with pytest.raises(InvalidInput, match="cursor is damaged"):
            decode(text, LISTING, order)


@pytest.mark.parametrize("length", range(1, 5))
def test_every_damaged_character_is_found(length):
    """Whichever character is changed, and to whatever, the cursor is refused."""
    text = encode(("x" * length, 7), NOW, LISTING)
    for place, right in enumerate(text):
        for wrong in set(string.ascii_letters + string.digits + "-_+/= \n.é") - {right}:
            with pytest.raises(InvalidInput, match="cursor is damaged"):
                decode(text[:place] + wrong + text[place + 1 :], LISTING, TITLES)


def test_missing_and_additional_characters_are_found():
    """A cursor that is cut, or longer than it was, at either end, is refused."""
    text = CURSOR
    cut = [text[:end] for end in range(len(text))] + [text[start:] for start in range(1, len(text))]
    for damaged in [*cut, text + "A", text + "=", text + "\n", " " + text, text + text]:
        with pytest.raises(InvalidInput, match="cursor is damaged"):
            decode(damaged, LISTING, ORDER)


@pytest.mark.parametrize(
    "other",
    [
        {"sort": "due", "user": ["ann@example.com"]},
        {"sort": "-due", "user": ["bob@example.com"]},
        {"sort": "-due"},
        {"sort": "-due", "user": ["ann@example.com"], "overdue": True},
        {},
    ],
)
def test_another_listing_is_refused(other):
    """A cursor serves no listing with another sort or other filters."""
    with pytest.raises(InvalidInput, match="another sort or other filters"):
        decode(CURSOR, other, ORDER)


@given(garbage=st.text())
def test_garbage_is_refused(garbage):
    """What is no cursor at all is refused."""
    with pytest.raises(InvalidInput):
        decode(garbage, LISTING, ORDER)
