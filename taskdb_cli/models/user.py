"""Users: the table, what callers may write to it, and the record of a user."""

from datetime import datetime
from typing import ClassVar

from pydantic import StrictBool
from sqlalchemy import Column, Identity, Integer, UniqueConstraint
from sqlalchemy.sql.expression import column
from sqlmodel import Field, SQLModel

from taskdb_cli.models.fields import EMAIL_LENGTH, NAME_LENGTH, Email, Given, Moment, Name
from taskdb_cli.models.types import (
    BigNumber,
    Flag,
    NoUppercase,
    check,
    one_line_rules,
    text_type,
    timestamp_rules,
    timestamp_type,
)
from taskdb_cli.models.vocabulary import USER_FIELDS


class User(SQLModel, table=True):
    """A person who owns tasks. Construct it from a validated `UserCreate`."""

    __tablename__: ClassVar[str] = "users"
    __table_args__ = (
        UniqueConstraint("email", name="users_email_key"),
        check("users", "email_lower", NoUppercase(column("email"))),
        *one_line_rules("users", "email", EMAIL_LENGTH),
        *one_line_rules("users", "name", NAME_LENGTH),
        check("users", "version_positive", column("version") >= 1),
        *timestamp_rules("users", "created_at", "updated_at"),
        {"sqlite_autoincrement": True, "sqlite_strict": True},
    )

    id: int = Field(default=None, sa_column=Column(BigNumber, Identity(always=True), primary_key=True))
    email: str = Field(sa_column=Column(text_type(), nullable=False))
    name: str = Field(sa_column=Column(text_type(), nullable=False))
    is_active: bool = Field(
        sa_column=Column(Flag(create_constraint=True, name="users_is_active_flag"), nullable=False)
    )
    version: int = Field(default=1, sa_column=Column(Integer, nullable=False))
    created_at: datetime = Field(sa_column=Column(timestamp_type(), nullable=False))
    updated_at: datetime = Field(sa_column=Column(timestamp_type(), nullable=False))


class UserCreate(Given):
    """What a caller gives to create a user."""

    email: Email
    name: Name
    is_active: StrictBool = True
    created_at: Moment | None = None
    updated_at: Moment | None = None


class UserUpdate(Given):
    """What a caller gives to change a user. An absent field stays as it is."""

    email: Email = Field(default=None)
    name: Name = Field(default=None)
    is_active: StrictBool = Field(default=None)


def user_record(user: User) -> dict[str, object]:
    """Return the record of a user, its fields in the order of `USER_FIELDS`."""
    return {field: getattr(user, field) for field in USER_FIELDS}
