"""How a transaction begins, whether it took effect, and the plans that outlast it."""

from collections.abc import Mapping
from typing import Any

import psycopg
from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import ExecutionContext

from taskdb_cli import errors
from taskdb_cli.database.backend import REPEATED
from taskdb_cli.database.postgresql import connection as sessions
from taskdb_cli.database.postgresql.errors import sqlstate

# Statistics are lost in the recovery from a crash, and begin again; so they do on another server.
_RECOVERED = "extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time())::text"

# An administrator may have set another isolation level for all transactions.
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"

# All statements of a listing see one snapshot; a transaction that only reads cannot fail for it.
BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

# This begins a transaction that writes, and asks for what its outcome can be looked up by later: in one
# message, so it takes one round trip.
BEGIN_WRITING = f"{BEGIN}; SELECT pg_current_xact_id()::text, {_RECOVERED}"

# A statement with more values names many rows, and seldom as many again.
_FEW = 50

_STANDBY = "in_hot_standby"
_READ_ONLY = {
    _STANDBY: "it is a standby: connect to the primary, which target_session_attrs=read-write finds",
    "default_transaction_read_only": "turn that setting off for the role and the database",
}


def begin(connection: Connection, statement: str | None, place: str) -> None:
    """Begin a transaction by a statement. None begins one that only reads, where a session needs any."""
    if statement is None and connection.info.get(sessions.OWN):
        return
    if statement == BEGIN_WRITING:
        require_writable(connection, place)
    begun = connection.exec_driver_sql(statement or BEGIN_READING)
    if statement == BEGIN_WRITING:
        connection.info[BEGIN_WRITING] = begun.one()


def require_writable(connection: Connection, place: str) -> None:
    """Raise NotWritable where nothing can be written, before anything waits for a lock.

    It costs no round trip: a server since PostgreSQL 14 reports both settings when they change.
    """
    for setting in _READ_ONLY:
        _require_off(connection, place, setting)


def require_primary(connection: Connection, place: str) -> None:
    """Raise NotWritable for a standby, and not for a session that only reads by a setting."""
    _require_off(connection, place, _STANDBY)


def _require_off(connection: Connection, place: str, setting: str) -> None:
    if sessions.driver_connection(connection).info.parameter_status(setting) == "on":
        hint = _READ_ONLY[setting]
        raise errors.NotWritable(f"PostgreSQL at {place} is read-only: {setting} is on", hint)


def is_standby(connection: Connection) -> bool:
    """Return whether the server is in recovery, which costs no round trip."""
    return sessions.driver_connection(connection).info.parameter_status(_STANDBY) == "on"


def is_committed(id: str, recovered: str, place: str, connection: Connection) -> bool:
    """Ask the server, which may not have noticed yet that the other session is gone.

    A server that crashed before anything of the transaction was on its disk gives the id out again.
    Hence, after a crash, "committed" may be said of another transaction.
    """
    if is_standby(connection):
        # Of several hosts this one answers now, and it may not have replayed the commit.
        raise errors.TransactionConflict(f"{place} has no primary that knows transaction {id}")
    look_up = f"SELECT pg_xact_status(%s::xid8), {_RECOVERED}"
    try:
        status, recovered_now = connection.exec_driver_sql(look_up, (id,)).one()
    except errors.CheckViolation as exc:
        # The server has not given out this id, as far as it remembers.
        if sqlstate(exc.__cause__) != "22023":
            raise
        return False
    if status == "in progress":
        raise errors.TransactionConflict(f"transaction {id} is still running on {place}")
    if status == "committed" and recovered_now != recovered:
        raise errors.OutcomeUnknown(
            f"PostgreSQL at {place} crashed while the change was being committed",
            "check whether it is there before you try again",
        )
    if status is None:
        raise errors.DatabaseUnavailable(f"{place} no longer knows transaction {id}")
    return bool(status == "committed")


def skip_answer_to_begin(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
    """Go on to the second answer, which counts where a statement is sent together with BEGIN."""
    if statement.startswith("BEGIN ") and ";" in statement:
        cursor.nextset()


def keep_plan(
    cursor: psycopg.Cursor[Any], statement: str, parameters: Mapping[str, Any], context: ExecutionContext
) -> bool:
    """Let a session of our own keep the plan of a repeated statement, which takes longer to make than to run.

    Returns whether the statement has been run.
    """
    if REPEATED not in context.execution_options or len(parameters) > _FEW:
        return False
    if own := bool(context.root_connection.info.get(sessions.OWN)):
        cursor.execute(statement, parameters, prepare=True)
    return own
