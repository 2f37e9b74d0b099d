"""Access tokens, at the service."""

import pytest

from taskdb_cli.errors import (
    Forbidden,
    InvalidInput,
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
from taskdb_cli.services.validation import validate
from tests.conftest import NOW
from tests.samples import add_token, add_user
from tests.schemas import execute


def recognize(database, secret):
    return database.read(lambda session: service.recognize(session, secret))


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
    assert recognize(database, add_token(database, "cron")) == Access(1, TokenScope.READ)
    ann = add_token(database, "ann", "ann@example.com", scope="write")
    assert recognize(database, ann) == Access(2, TokenScope.WRITE, 1)


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
        },
        {"id": 1, "name": "b", "scope": "read", "user_id": None, "user": None, "created_at": NOW},
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
        validate(TokenCreate, {"name": name})


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


def test_a_name_goes_before_an_id(database):
    """A token whose name looks like an id is meant by it."""
    first, second = add_token(database, "cron"), add_token(database, "1")
    revoke(database, "1")
    assert recognize(database, first).token_id == 1
    with pytest.raises(Unauthorized):
        recognize(database, second)


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
    ann = Access(1, TokenScope.READ, 1)
    with pytest.raises(Forbidden):
        ann.require_write()
    with pytest.raises(Forbidden):
        ann.require_everybody()
    database.read(lambda session: ann.require_user(session, "ann@example.com"))
    for ref in ("bob@example.com", "2", "99"):
        with pytest.raises(UserNotFound):
            database.read(lambda session, ref=ref: ann.require_user(session, ref))
    everybody = Access(2, TokenScope.WRITE)
    everybody.require_write()
    everybody.require_everybody()
    database.read(lambda session: everybody.require_user(session, "bob@example.com"))
