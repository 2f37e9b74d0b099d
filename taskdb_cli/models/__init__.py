"""The tables, their rules, and the shape of a record.

This package imports nothing by itself, so that the command line can offer the words of
`enums` without paying for SQLModel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import MetaData


def metadata() -> MetaData:
    """Return the definition of every table, which migrations and checks compare with."""
    from taskdb_cli.models.task import Task
    from taskdb_cli.models.user import User

    assert Task.metadata is User.metadata
    return User.metadata
