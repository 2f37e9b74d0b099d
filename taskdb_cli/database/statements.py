"""Statements that differ by engine, run in the transaction of a session."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Select, Table
from sqlmodel import Session

from taskdb_cli.database.backend import Backend, Plan, literal_sql
from taskdb_cli.database.sql_log import LONG_WORK


def bulk_insert(
    session: Session, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Insert rows by the engine's fastest way (COPY on PostgreSQL), at constant memory."""
    backend: Backend = session.info[Backend]
    # The driver runs it without SQLAlchemy, which would have raised ours.
    with backend.translating():
        backend.bulk_insert(session.connection(), table, columns, rows)


def many_inserted(session: Session, table: Table, rows: int) -> AbstractContextManager[None]:
    """Make ready for a statement that inserts so many rows into a table."""
    backend: Backend = session.info[Backend]
    return backend.many_inserted(session.connection(), table, rows)


def insert_with_ids(session: Session, table: Table, rows: Select[Any]) -> None:
    """Insert rows with the ids that they have. The columns of the query are named as those of the table."""
    names, connection = ", ".join(rows.selected_columns.keys()), session.connection()
    overriding = session.info[Backend].overriding
    # SQLAlchemy has no words for that.
    connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({names}){overriding} {literal_sql(connection, rows)}"
    )


def give_ids(session: Session, table: Table, rows: Table) -> None:
    """Give a new id of `table` to each row of a temporary table whose `new_id` is NULL.

    Ids that the table gives from then on follow the highest `new_id`.
    """
    session.info[Backend].give_ids(session.connection(), table.name, rows.name)


def lock_table(session: Session, table: Table) -> None:
    """Keep other transactions from changing the table until this one ends; they can read it."""
    session.info[Backend].lock_table(session.connection(), table.name)


def explain(session: Session, queries: Sequence[Select[Any]]) -> list[Plan]:
    """Run queries and return how the engine did it. Nothing warns of a slow one, which this is to explain."""
    connection = session.connection().execution_options(**{LONG_WORK: True})
    return [session.info[Backend].explain(connection, query) for query in queries]
