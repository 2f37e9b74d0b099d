"""The tables, their rules, and the shape of a record.

The package itself imports nothing, so that the command line can use `vocabulary` without SQLModel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import MetaData


def metadata() -> MetaData:
    """Return the definition of every table and index, which migrations and checks compare with."""
    # Each module adds its tables and indexes when it is imported.
    from taskdb_cli.models import history, schema, token, user  # noqa: F401

    return user.User.metadata
