"""Cursors: what they carry, and how they refuse what is not theirs."""

import string
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus
from taskdb_cli.services.cursor import Cursor
from tests.conftest import NOW

LISTING = {"sort": "-due", "user": ["ann@example.com"]}
CURSOR = Cursor((datetime(2026, 12, 1, 17, 0, 0, 1, tzinfo=UTC), None, "Zoë {'\"\\", 7), NOW)
VALUES = st.one_of(
    st.none(),
    st.integers(0, 2**63 - 1),
    st.text(),
    st.datetimes(timezones=st.just(UTC)),
    st.sampled_from(TaskStatus),
    st.sampled_from(TaskPriority),
)


@given(position=st.lists(VALUES, min_size=1, max_size=5).map(tuple), now=st.datetimes(timezones=st.just(UTC)))
def test_every_value_comes_back(position, now):
    """A cursor returns the position and the time that it was made of, in characters safe in a shell."""
    text = Cursor(position, now).encode(LISTING)
    assert Cursor.decode(text, LISTING) == Cursor(position, now)
    assert set(text) <= set(string.ascii_letters + string.digits + "-_")


@pytest.mark.parametrize("length", range(1, 5))
def test_every_damaged_character_is_found(length):
    """Whichever character is changed, and to whatever, the cursor is refused."""
    cursor = Cursor(("x" * length,), NOW)
    text = cursor.encode(LISTING)
    for place, right in enumerate(text):
        for wrong in set(string.ascii_letters + string.digits + "-_+/= \n.é") - {right}:
            with pytest.raises(InvalidInput, match="cursor is damaged"):
                Cursor.decode(text[:place] + wrong + text[place + 1 :], LISTING)


def test_missing_and_additional_characters_are_found():
    """A cursor that is cut, or longer than it was, at either end, is refused."""
    text = CURSOR.encode(LISTING)
    cut = [text[:end] for end in range(len(text))] + [text[start:] for start in range(1, len(text))]
    for damaged in [*cut, text + "A", text + "=", text + "\n", " " + text, text + text]:
        with pytest.raises(InvalidInput, match="cursor is damaged"):
            Cursor.decode(damaged, LISTING)


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
        Cursor.decode(CURSOR.encode(LISTING), other)


@given(garbage=st.text())
def test_garbage_is_refused(garbage):
    """What is no cursor at all is refused."""
    with pytest.raises(InvalidInput):
        Cursor.decode(garbage, LISTING)
