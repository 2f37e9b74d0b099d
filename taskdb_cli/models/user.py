"""Users: the table, what callers may write to it, and the record of a user."""

from datetime import datetime
from typing import ClassVar

from pydantic import StrictBool
from sqlalchemy import Column, Identity, Integer, UniqueConstraint
from sqlalchemy.sql.expression import column
from sqlmodel import Field, SQLModel

from taskdb_cli.models import fields, types
from taskdb_cli.models.vocabulary import USER_FIELDS


class User(SQLModel, table=True):
    """A person who owns tasks. Construct it from a validated `UserCreate`."""

    __tablename__: ClassVar[str] = "users"
    __table_args__ = (
        UniqueConstraint("email", name="users_email_key"),
        types.check("users", "email_lower", types.NoUppercase(column("email"))),
        *types.one_line_rules("users", "email", fields.EMAIL_LENGTH),
        *types.one_line_rules("users", "name", fields.NAME_LENGTH),
        types.check("users", "version_positive", column("version") >= 1),
        *types.timestamp_rules("users", "created_at", "updated_at"),
        {"sqlite_autoincrement": True, "sqlite_strict": True},
    )

    id: int = Field(default=None, sa_column=Column(types.BigNumber, Identity(always=True), primary_key=True))
    email: str = Field(sa_column=Column(types.text_type(), nullable=False))
    name: str = Field(sa_column=Column(types.text_type(), nullable=False))
    is_active: bool = Field(
        sa_column=Column(types.Flag(create_constraint=True, name="users_is_active_flag"), nullable=False)
    )
    version: int = Field(default=1, sa_column=Column(Integer, nullable=False))
    created_at: datetime = Field(sa_column=Column(types.timestamp_type(), nullable=False))
    updated_at: datetime = Field(sa_column=Column(types.timestamp_type(), nullable=False))


USERS = User.metadata.tables["users"]


class UserCreate(fields.Given):
    """What a caller gives to create a user."""

    email: fields.Email
    name: fields.Name
    is_active: StrictBool = True
    created_at: fields.Moment | None = None
    updated_at: fields.Moment | None = None


class UserUpdate(fields.Given):
    """What a caller gives to change a user. An absent field stays as it is."""

    email: fields.Email = Field(default=None)
    name: fields.Name = Field(default=None)
    is_active: bool = Field(default=None)


def user_record(user: User) -> dict[str, object]:
    """Return the record of a user, its fields in the order of `USER_FIELDS`."""
    return {field: getattr(user, field) for field in USER_FIELDS}
