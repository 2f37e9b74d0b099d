"""Access tokens: make, list, revoke, and recognize them."""

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, bindparam, insert, literal, null, or_, select, update
from sqlmodel import Session

from taskdb_cli import errors
from taskdb_cli.database import recording
from taskdb_cli.database.backend import REPEATED
from taskdb_cli.models.token import TOKENS, TokenCreate
from taskdb_cli.models.types import text_type
from taskdb_cli.models.user import USERS
from taskdb_cli.models.vocabulary import TOKEN_FIELDS, TokenScope
from taskdb_cli.services import explained
from taskdb_cli.services import user as users
from taskdb_cli.services.listing.pages import Record
from taskdb_cli.system.clock import in_utc

PREFIX = "taskdb_"
"""How every token begins, so that people and scanners recognize a leaked one."""

SECRET_BYTES = 32

_WITH_USER = TOKENS.outerjoin(USERS, USERS.c.id == TOKENS.c.user_id)
# Every request of the HTTP API runs one of these. To build them takes longer than to run them.
_SHOWN = [
    TOKENS.c[name] for name in ("id", "name", "token_hash", "scope", "user_id", "expires_at", "last_used_at")
]
_HAS_HASH = TOKENS.c.token_hash == bindparam("digest")
_BY_HASH = select(*_SHOWN, USERS.c.is_active).select_from(_WITH_USER).where(_HAS_HASH)
# Without the join, a server needs a quarter less time.
_ALONE = select(*_SHOWN, null().label("is_active")).where(_HAS_HASH)


@dataclass(frozen=True)
class Access:
    """What the bearer of a token may do, with the rows of one user or, without a `user_id`, of all."""

    token_id: int
    token_name: str
    scope: TokenScope
    user_id: int | None = None
    last_used_at: datetime | None = None

    def require_write(self) -> None:
        """Raise Forbidden unless changes are allowed."""
        if self.scope is not TokenScope.WRITE:
            raise errors.Forbidden("this access token may only read", "use a token with the scope write")

    def require_everybody(self) -> None:
        """Raise Forbidden for a token that is limited to one user."""
        if self.user_id is not None:
            raise errors.Forbidden("this access token is limited to one user", "use a token without a user")

    def require_user(self, session: Session, ref: str) -> None:
        """Raise UserNotFound for a user whom the bearer must not know to exist."""
        if self.user_id is not None and users.get_id(session, ref) != self.user_id:
            raise errors.UserNotFound(ref)


def generate() -> str:
    """Return a new token of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def create(
    session: Session, given: TokenCreate, secret: str, *, now: datetime, owner: str | None = None
) -> Record:
    """Keep the hash of a token, which is limited to one user if `owner` names them; return its record.

    Raises InvalidInput for a token that would have expired by `now`, UserNotFound, or TokenNameTaken when
    another token has the name.
    """
    if given.expires_at is not None and given.expires_at <= now:
        raise errors.InvalidInput(
            f"the token would expire at {in_utc(given.expires_at)}, which is not in the future",
            "give a later time, such as 90d",
        )
    user = users.get(session, owner, lock=True) if owner is not None else None
    values = {
        **given.model_dump(),
        "scope": given.scope.value,
        "token_hash": _hash(secret),
        "user_id": user and user.id,
        "created_at": now,
    }
    record = _record(literal(user and user.email, text_type()))
    with explained(access_tokens_name_key=errors.TokenNameTaken(given.name)):
        [row] = recording.insert(session, insert(TOKENS).values(values), record)
    return dict(zip(TOKEN_FIELDS, row, strict=True))


def find(session: Session) -> list[Record]:
    """Return the records of all tokens, by name."""
    query = select(*_record(USERS.c.email)).select_from(_WITH_USER).order_by(TOKENS.c.name)
    return [row._asdict() for row in session.execute(query)]


def revoke(session: Session, ref: str) -> Record:
    """Delete a token and return its record without its user; raise TokenNotFound.

    A reference of digits is always an id, anything else is a name. No transaction that begins afterwards
    recognizes the token.
    """
    id = users.to_id(ref)
    condition = TOKENS.c.name == ref if id is None else TOKENS.c.id == id
    revoked = recording.delete(session, TOKENS, condition, returning=_record(null()))
    if not revoked:
        raise errors.TokenNotFound(ref)
    return dict(zip(TOKEN_FIELDS, revoked[0], strict=True))


def recognize(session: Session, secret: str, *, now: datetime, alone: bool = False) -> Access:
    """Return what a token allows.

    With `alone` the token is looked up without its user. That costs the database least, but a token that has
    a user takes one more statement.
    Raises Unauthorized for one that is unknown, was revoked, has expired by `now`, or belongs to a user
    who is not active.
    """
    digest = _hash(secret)

    def look_up(query: Select[Any]) -> Row[Any] | None:
        options = {REPEATED: True}
        found = session.connection().execute(query, {"digest": digest}, execution_options=options)
        return found.one_or_none()

    token = look_up(_ALONE if alone else _BY_HASH)
    if alone and token is not None and token.user_id is not None:
        token = look_up(_BY_HASH)
    # How long the index takes to compare hashes tells nothing of the token. This comparison decides.
    if token is None or not hmac.compare_digest(token.token_hash, digest):
        raise errors.Unauthorized("the access token is unknown or was revoked")
    if token.expires_at is not None and token.expires_at <= now:
        raise errors.Unauthorized(
            f"the access token expired at {in_utc(token.expires_at)}", "ask for a new one"
        )
    if token.is_active is False:
        raise errors.Unauthorized("the user of the access token is not active")
    try:
        scope = TokenScope(token.scope)
    except ValueError:
        raise errors.ValueCorrupt("scope of an access token", token.scope) from None
    return Access(token.id, token.name, scope, token.user_id, token.last_used_at)


def note_use(session: Session, id: int, *, hour: datetime) -> None:
    """Store the beginning of the hour in which a token was used, unless that or a later one is stored."""
    last_used_at = TOKENS.c.last_used_at
    is_news = or_(last_used_at.is_(None), last_used_at < hour)
    session.execute(update(TOKENS).where(TOKENS.c.id == id, is_news).values(last_used_at=hour))


def _record(user: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    return [user.label("user") if field == "user" else TOKENS.c[field] for field in TOKEN_FIELDS]


def _hash(secret: str) -> str:
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
