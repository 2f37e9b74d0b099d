"""Access tokens, at the service."""

from datetime import timedelta
from functools import partial

import pytest

from taskdb_cli.errors import (
    Forbidden,
    InvalidInput,
    TaskdbError,
    TokenNameTaken,
    TokenNotFound,
    Unauthorized,
    UserNotFound,
)
from taskdb_cli.models.token import TokenCreate
from taskdb_cli.models.user import UserUpdate
from taskdb_cli.models.vocabulary import TokenScope
from taskdb_cli.services import token as service
from taskdb_cli.services import user as users
from taskdb_cli.services.token import Access
from tests.conftest import NOW
from tests.samples import add_token, add_user
from tests.schemas import execute

LATER = NOW + timedelta(hours=1)


def recognize(database, secret, now=NOW):
    """Look a token up in both ways, which must end alike."""
    ends: list[Access | TaskdbError] = []
    for alone in (True, False):
        try:
            found = database.read(partial(service.recognize, secret=secret, now=now, alone=alone))
        except TaskdbError as exc:
            ends.append(exc)
        else:
            ends.append(found)
    assert repr(ends[0]) == repr(ends[1])
    if isinstance(ends[0], TaskdbError):
        raise ends[0]
    return ends[0]


def revoke(database, ref):
    database.write(lambda session: service.revoke(session, ref))


def test_tokens_are_long_and_never_the_same():
    """A token has 256 random bits behind its prefix."""
    made = {service.generate() for _ in range(100)}
    assert len(made) == 100
    assert {(text[:7], len(text)) for text in made} == {("taskdb_", 50)}


def test_only_the_hash_is_kept(database, url):
    """Nothing in the table gives the token away."""
    secret = add_token(database, "cron")
    [row] = execute(url, "SELECT * FROM access_tokens")
    assert secret not in str(row)
    assert secret.removeprefix("taskdb_") not in str(row)


def test_a_token_is_recognized(database):
    """What a token allows is what it was made with."""
    add_user(database)
    assert recognize(database, add_token(database, "cron")) == Access(1, "cron", TokenScope.READ)
    ann = add_token(database, "ann", "ann@example.com", scope="write")
    assert recognize(database, ann) == Access(2, "ann", TokenScope.WRITE, 1)


@pytest.mark.parametrize(
    "change", [str.swapcase, lambda text: text[:-1], lambda text: f"{text}x", lambda _: ""]
)
def test_another_token_is_not(database, change):
    """Every character counts."""
    with pytest.raises(Unauthorized):
        recognize(database, change(add_token(database, "cron")))


def test_records(database):
    """A list shows every token with its user's address, by name, and no secret."""
    add_user(database)
    add_token(database, "b")
    add_token(database, "a", "1", scope="write")
    assert database.read(service.find) == [
        {
            "id": 2,
            "name": "a",
            "scope": "write",
            "user_id": 1,
            "user": "ann@example.com",
            "created_at": NOW,
            "expires_at": None,
            "last_used_at": None,
        },
        {
            "id": 1,
            "name": "b",
            "scope": "read",
            "user_id": None,
            "user": None,
            "created_at": NOW,
            "expires_at": None,
            "last_used_at": None,
        },
    ]


def test_names_are_unique(database):
    """A name belongs to one token until that is revoked."""
    add_token(database, "cron")
    with pytest.raises(TokenNameTaken, match="cron"):
        add_token(database, "cron")
    revoke(database, "cron")
    add_token(database, "cron")


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a" * 201])
def test_a_name_obeys_the_rules_of_names(name):
    """A token's name is a short text on one line, as a user's is."""
    with pytest.raises(InvalidInput, match=r"^name "):
        TokenCreate.checked({"name": name})


@pytest.mark.parametrize("ref", ["cron", "1", "001"])
def test_a_revoked_token_is_not_recognized(database, ref):
    """A token is revoked by its name or its id, at once and for good."""
    secret, other = add_token(database, "cron"), add_token(database, "ci")
    revoke(database, ref)
    with pytest.raises(Unauthorized):
        recognize(database, secret)
    assert recognize(database, other).token_id == 2


@pytest.mark.parametrize("ref", ["", "x", "7", "9" * 19, "9" * 5000, "-1", "²"])
def test_revoking_what_is_not_there(database, ref):
    """A token that does not exist cannot be revoked, and another is not revoked instead."""
    add_token(database, "cron")
    with pytest.raises(TokenNotFound):
        revoke(database, ref)
    assert len(database.read(service.find)) == 1


@pytest.mark.parametrize(
    "name", ["1", " 1", "1 ", "+1", "-1", "\uff10\uff11", "²", "٣", "1.5", "1_000", "1\u200b", "½"]
)
def test_a_name_is_no_number(name):
    """What a person, or a command, could take for an id is no name."""
    with pytest.raises(InvalidInput, match=r"^name is a number"):
        TokenCreate.checked({"name": name})


@pytest.mark.parametrize("name", ["1a", "#1", "v1.2", "2026-11-22", "-", "\uff11\u53f7"])
def test_a_name_may_have_digits(name):
    """Digits with anything else beside them are a name."""
    assert TokenCreate.checked({"name": name}).name == name


def test_digits_are_an_id(database, url):
    """A token whose name is a number, as 0.1.0 made them, is revoked by its id only."""
    first, second = add_token(database, "cron"), add_token(database, "ci")
    for name, id in (("1", 2), ("9" * 30, 1)):
        execute(url, f"UPDATE access_tokens SET name = '{name}' WHERE id = {id}")
    with pytest.raises(TokenNotFound):
        revoke(database, "9" * 30)
    revoke(database, "1")
    assert recognize(database, second).token_id == 2
    with pytest.raises(Unauthorized):
        recognize(database, first)
    revoke(database, "2")
    assert database.read(service.find) == []


@pytest.mark.parametrize("name", ["+1", "1 ", "²"])
def test_what_is_no_id_is_a_name(database, url, name):
    """A name of 0.1.0 that only resembles a number is still found as a name."""
    add_token(database, "cron")
    add_token(database, "ci")
    execute(url, f"UPDATE access_tokens SET name = '{name}' WHERE id = 2")
    revoke(database, name)
    assert [record["id"] for record in database.read(service.find)] == [1]


def test_a_token_expires(database):
    """A token is in force until the very moment at which it expires."""
    secret = add_token(database, "cron", expires_at=LATER)
    moment = timedelta(microseconds=1)
    assert recognize(database, secret, LATER - moment).token_id == 1
    for now in (LATER, LATER + moment, LATER + timedelta(days=9999)):
        with pytest.raises(Unauthorized, match="expired at 2026-11-22T13:30:15Z"):
            recognize(database, secret, now)
    assert database.read(service.find)[0]["expires_at"] == LATER


@pytest.mark.parametrize("late", [0, 1, 10**6])
def test_a_token_that_has_expired_is_not_made(database, late):
    """A time that is now or over is refused."""
    with pytest.raises(InvalidInput, match="not in the future"):
        add_token(database, "cron", expires_at=NOW - timedelta(microseconds=late))
    assert database.read(service.find) == []


def test_the_last_use_is_kept_once_an_hour(database):
    """The first use in an hour is written and no other; an earlier hour never replaces a later one."""
    secret = add_token(database, "cron")
    add_token(database, "other")
    hour, next_hour = (NOW.replace(hour=each, minute=0, second=0, microsecond=0) for each in (12, 13))
    for given, kept in ((hour, hour), (hour, hour), (next_hour, next_hour), (hour, next_hour)):
        database.write(lambda session, given=given: service.note_use(session, 1, hour=given))
        assert recognize(database, secret).last_used_at == kept
    database.write(lambda session: service.note_use(session, 99, hour=hour))
    assert [record["last_used_at"] for record in database.read(service.find)] == [next_hour, None]


def test_a_token_of_nobody(database):
    """A token cannot be limited to a user who does not exist."""
    with pytest.raises(UserNotFound):
        add_token(database, "cron", "ann@example.com")


def test_a_token_ends_with_its_user(database):
    """A user who is deactivated has no token in force, and one who is deleted has none at all."""
    add_user(database)
    secret = add_token(database, "ann", "1")
    inactive = UserUpdate(is_active=False)
    database.write(lambda session: users.change(session, "1", inactive, now=NOW))
    with pytest.raises(Unauthorized, match="not active"):
        recognize(database, secret)
    database.write(lambda session: users.remove(session, ["1"], now=NOW))
    with pytest.raises(Unauthorized, match="unknown"):
        recognize(database, secret)
    assert database.read(service.find) == []


def test_what_access_allows(database):
    """A token to read may not write, and one of a user knows of nobody else."""
    add_user(database)
    add_user(database, "bob@example.com")
    ann = Access(1, "ann", TokenScope.READ, 1)
    with pytest.raises(Forbidden):
        ann.require_write()
    with pytest.raises(Forbidden):
        ann.require_everybody()
    database.read(lambda session: ann.require_user(session, "ann@example.com"))
    for ref in ("bob@example.com", "2", "99"):
        with pytest.raises(UserNotFound):
            database.read(lambda session, ref=ref: ann.require_user(session, ref))
    everybody = Access(2, "cron", TokenScope.WRITE)
    everybody.require_write()
    everybody.require_everybody()
    database.read(lambda session: everybody.require_user(session, "bob@example.com"))
