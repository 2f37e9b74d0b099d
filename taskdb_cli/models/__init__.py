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
    from taskdb_cli.models.indexes import INDEXES
    from taskdb_cli.models.token import AccessToken
    from taskdb_cli.models.user import User

    tables = [AccessToken.metadata.tables["access_tokens"], *(index.table for index in INDEXES)]
    assert all(table is not None and table.metadata is User.metadata for table in tables)
    return User.metadata
