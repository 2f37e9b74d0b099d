"""The checks of a hot standby: of the database itself, or of the replica that its settings name."""

import time
from typing import NamedTuple

from sqlalchemy import Connection

from taskdb_cli.database.replica import PATIENCE, require_same
from taskdb_cli.errors import ConnectionFailed, TaskdbError
from taskdb_cli.health.examination import Examination
from taskdb_cli.health.report import Result, Status, Unmeasured
from taskdb_cli.text.amounts import in_one_size, in_one_unit, in_words

_GRANT = "GRANT pg_read_all_stats TO the role of the database URL"

# A role that may not look at the receiver sees its process id only. The receiver may know of a position that
# it has not got yet, and after a restart it has got nothing that the standby had replayed before.
_STATE = """
SELECT pid IS NOT NULL, status, concat_ws(':', sender_host, sender_port), pg_get_wal_replay_pause_state(),
       (greatest(pg_last_wal_receive_lsn(), latest_end_lsn, pg_last_wal_replay_lsn()) - '0/0')::bigint,
       (pg_last_wal_replay_lsn() - '0/0')::bigint,
       extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float
FROM (SELECT) AS one LEFT JOIN pg_stat_wal_receiver ON true
"""

# Which kinds of conflicts there are depends on the version of the server.
_CONFLICTS = """
SELECT to_jsonb(kinds), to_char(stats_reset AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')
FROM pg_stat_database_conflicts AS kinds JOIN pg_stat_database USING (datid)
WHERE kinds.datname = current_database()
"""


class State(NamedTuple):
    """What a standby says of itself. Positions are bytes of the write-ahead log."""

    is_connected: bool
    status: str | None
    """That of the process that receives the log; None if there is none, or the role may not look."""
    sender: str
    pause: str
    received: int
    replayed: int
    seconds: float | None
    """How long ago the last transaction that it has replayed was committed; None if there is none yet."""


def check_replica(exam: Examination) -> Result:
    """Demand that a standby receives and replays the log, and that a replica is one of this database."""
    if exam.replica:
        try:
            _ = exam.replica_connection
            require_same(exam.database, exam.replica)
        except TaskdbError as exc:
            status = Status.WARNING if isinstance(exc, ConnectionFailed) else Status.CRITICAL
            return Result(status, exc.message, remedy=exc.hint)
    place, connection = _standby(exam)
    state = _state(connection)
    if not state.is_connected:
        what = (
            f"{place} receives nothing: it is not connected to its primary, or reads the log from an archive"
        )
        remedy = "look at its log; if it reads from an archive, leave this check out with --skip"
        return Result(Status.WARNING, what, remedy=remedy)
    if state.pause != "not paused":
        return Result(
            Status.WARNING,
            f"{place} replays nothing: {state.pause}",
            remedy="SELECT pg_wal_replay_resume() there",
        )
    if state.status is None:
        raise Unmeasured(f"the role may not look at the receiver of {place}", _GRANT)
    if state.status != "streaming":
        return Result(Status.WARNING, f"the receiver of {place} is {state.status}", remedy="look at its log")
    return Result(Status.OK, f"{place} is connected to {state.sender}")


def check_replica_lag(exam: Examination) -> Result:
    """Judge how old the rows of a standby are, in seconds. One that has replayed everything has no lag."""
    place, state, behind = _behind(exam)
    if not behind and (state.is_connected or exam.replica):
        return exam.judged(0, f"{place} has replayed everything")
    if state.seconds is None:
        raise Unmeasured(f"{place} has replayed no transaction since it was started", status=Status.UNKNOWN)
    seconds, remedy = max(0.0, state.seconds), "look at its load, at its network, and at long queries there"
    age = f"{in_one_unit(seconds)} old"
    if behind:
        message = f"the newest rows of {place} are {age}, and newer changes are waiting"
    else:
        message = f"{place} is not connected, and the last transaction that it has is {age}"
    return exam.judged(seconds, message, remedy)


def check_replica_backlog(exam: Examination) -> Result:
    """Judge how many bytes of the log a standby has not replayed; there is no limit unless one is set."""
    place, state, behind = _behind(exam)
    if not (behind or state.is_connected or exam.replica):
        raise Unmeasured(f"{place} is not connected, so it is not known what it lacks", status=Status.UNKNOWN)
    return exam.judged(behind, f"{place} has {in_one_size(behind)} to replay", "find out what delays it")


def check_replica_conflicts(exam: Examination) -> Result:
    """Tell how many statements the replay has cancelled; there is no limit unless one is set."""
    place, connection = _standby(exam)
    [(found, since)] = connection.exec_driver_sql(_CONFLICTS)
    kinds = {
        name.removeprefix("confl_"): number for name, number in found.items() if name.startswith("confl_")
    }
    total = sum(kinds.values())
    each = ", ".join(f"{kind} {number:,}" for kind, number in kinds.items() if number)
    message = f"{place} has cancelled {in_words({'statements': total})} that blocked the replay"
    message += (f" ({each})" if each else "") + (f" since {since}" if since else "")
    remedy = "set hot_standby_feedback = on there, or raise max_standby_streaming_delay"
    return exam.judged(total, message, remedy)


def _standby(exam: Examination) -> tuple[str, Connection]:
    """Return the place of the standby and a connection to it. Raises Unmeasured if there is none."""
    database = exam.replica or exam.database
    connection = exam.replica_connection if exam.replica else exam.connection
    if not connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar_one():
        if exam.replica:
            raise Unmeasured(f"{database.backend.place} is not a standby")
        raise Unmeasured(
            "this is not a standby, and no replica is set", "set TASKDB_READ_URL if there is one"
        )
    return database.backend.place, connection


def _state(connection: Connection) -> State:
    return State(*connection.exec_driver_sql(_STATE).one())


def _behind(exam: Examination) -> tuple[str, State, int]:
    """Return the place of the standby, its state, and how many bytes it has to replay.

    It may replay them within PATIENCE: on an idle database the last transaction is old when the next one
    has just come, and that is no lag.
    """
    place, connection = _standby(exam)
    state = _state(connection)
    goal = state.received
    if exam.replica:
        goal = max(goal, exam.database.backend.log_state(exam.connection).position)
    deadline = time.monotonic() + min(PATIENCE, exam.seconds)
    while state.replayed < goal and time.monotonic() < deadline:
        time.sleep(0.02)
        state = _state(connection)
    return place, state, max(0, goal - state.replayed)
