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
    from taskdb_cli.models.user import User

    assert all(index.table.metadata is User.metadata for index in INDEXES if index.table is not None)
    return User.metadata
