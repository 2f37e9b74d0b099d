"""The identity of a database, which its archives carry."""

from typing import ClassVar

from sqlalchemy import Column, Integer
from sqlalchemy.sql.expression import column
from sqlmodel import Field, SQLModel

from taskdb_cli.models.types import BigNumber, IsUuid, check, text_type


class DatabaseIdentity(SQLModel, table=True):
    """The one row that says which database this is: a UUID in lower case."""

    __tablename__: ClassVar[str] = "taskdb_identity"
    __table_args__ = (
        check("taskdb_identity", "single_row", column("id", Integer) == 1),
        check("taskdb_identity", "identity_uuid", IsUuid(column("identity"))),
        {"sqlite_strict": True},
    )

    id: int = Field(default=1, sa_column=Column(BigNumber, primary_key=True, autoincrement=False))
    identity: str = Field(sa_column=Column(text_type(), nullable=False))
