"""The tables, their rules, and the shape of a record.

This package imports nothing by itself, so that the command line can offer the words of
`vocabulary` without paying for SQLModel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import MetaData


def metadata() -> MetaData:
    """Return the definition of every table and index, which migrations and checks compare with."""
    from taskdb_cli.models.identity import DatabaseIdentity
    from taskdb_cli.models.indexes import INDEXES
    from taskdb_cli.models.token import AccessToken
    from taskdb_cli.models.user import User

    models = (AccessToken, DatabaseIdentity)
    tables = [model.metadata.tables[str(model.__tablename__)] for model in models]
    tables += [index.table for index in INDEXES if index.table is not None]
    assert all(table.metadata is User.metadata for table in tables)
    return User.metadata
