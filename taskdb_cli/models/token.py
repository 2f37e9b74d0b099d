"""Access tokens: who may use the HTTP API, and for what."""

import unicodedata
from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import AfterValidator
from sqlalchemy import Column, ForeignKey, Identity, Text, UniqueConstraint, func
from sqlalchemy.sql.expression import column
from sqlmodel import Field, SQLModel

from taskdb_cli.models import fields, types
from taskdb_cli.models.vocabulary import TokenScope

HASH_LENGTH = 64
"""Hexadecimal digits of a SHA-256."""


class AccessToken(SQLModel, table=True):
    """A token that a program shows to the HTTP API. Only its hash is stored."""

    __tablename__: ClassVar[str] = "access_tokens"
    __table_args__ = (
        UniqueConstraint("name", name="access_tokens_name_key"),
        UniqueConstraint("token_hash", name="access_tokens_token_hash_key"),
        *types.one_line_rules("access_tokens", "name", fields.NAME_LENGTH),
        types.check(
            "access_tokens", "token_hash_length", func.length(column("token_hash", Text)) == HASH_LENGTH
        ),
        types.check(
            "access_tokens", "scope_known", column("scope").in_([scope.value for scope in TokenScope])
        ),
        *types.timestamp_rules("access_tokens", "created_at", "expires_at", "last_used_at"),
        {"sqlite_autoincrement": True, "sqlite_strict": True},
    )

    id: int = Field(default=None, sa_column=Column(types.BigNumber, Identity(always=True), primary_key=True))
    name: str = Field(sa_column=Column(types.text_type(), nullable=False))
    token_hash: str = Field(sa_column=Column(types.text_type(), nullable=False))
    scope: str = Field(sa_column=Column(types.text_type(), nullable=False))
    user_id: int | None = Field(
        default=None,
        sa_column=Column(
            types.BigNumber, ForeignKey("users.id", name="access_tokens_user_id_fkey", ondelete="CASCADE")
        ),
    )
    created_at: datetime = Field(sa_column=Column(types.timestamp_type(), nullable=False))
    expires_at: datetime | None = Field(default=None, sa_column=Column(types.timestamp_type()))
    last_used_at: datetime | None = Field(default=None, sa_column=Column(types.timestamp_type()))
    """The beginning of the hour of the last use."""


TOKENS = AccessToken.metadata.tables["access_tokens"]


def _refuse_number(name: str) -> str:
    """Return the name; raise ValueError if it looks like a number, also with marks between the digits."""
    text = name.strip().lstrip("+-\N{MINUS SIGN}")
    marks = (each in ".,_'" or each.isspace() or unicodedata.category(each) == "Cf" for each in text)
    if text and all(mark or each.isnumeric() for mark, each in zip(marks, text, strict=True)):
        raise ValueError("is a number, which would mean an id: add a letter")
    return name


class TokenCreate(fields.Given):
    """What a caller gives to create an access token. The user is given apart from it."""

    name: Annotated[fields.Name, AfterValidator(_refuse_number)]
    scope: TokenScope = TokenScope.READ
    expires_at: fields.Moment | None = None
