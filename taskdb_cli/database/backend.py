"""What the rest of taskdb asks of an engine; each engine overrides what it does differently."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from sqlalchemy import ClauseElement, ColumnElement, Connection, Engine, Select, Table

from taskdb_cli.database.content import Content
from taskdb_cli.database.options import Options
from taskdb_cli.database.search_index import SearchIndex
from taskdb_cli.errors import InvalidConfiguration, TaskdbError
from taskdb_cli.text.amounts import in_words

if TYPE_CHECKING:
    from sqlmodel import Session

MIGRATED = "taskdb_migrated"
"""The key in a connection's `info` that says whether taskdb's version table exists."""


COMPARED = "taskdb_compared"
"""The key in a connection's `info` for the database that it was compared with.

It is forgotten where the next transaction may have another session of the server.
"""


BULK = "taskdb_bulk"
"""The execution option of a connection whose statements have the limit of bulk work."""


REPEATED = "taskdb_repeated"
"""The execution option of a statement that finds rows by a unique key: its plan is good for all values."""


class Transaction(NamedTuple):
    """A transaction whose outcome can be looked up if the answer to its commit was lost."""

    is_committed: Callable[[Connection], bool]
    """Ask over another connection. Raises DatabaseUnavailable if it cannot be told yet, and OutcomeUnknown if
    it can never be told."""
    question: str
    """The SQL by which a person can ask."""


class LogState(NamedTuple):
    """How far a server has come in its write-ahead log."""

    in_recovery: bool
    """Whether it replays what another server wrote, as a standby does; it takes no writes then."""
    position: int
    """The byte up to which it has flushed the log, or replayed it. Servers of one replication agree on it."""
    replayed_at: datetime | None
    """When the last transaction that it has replayed was committed, by the clock of the server that wrote it;
    None for one that is not in recovery, or that has replayed none since it was started."""
    seconds: float | None
    """How many seconds ago that was, by its own clock."""


@dataclass(frozen=True)
class Plan:
    """The SQL of a query, the engine's plan for it, how it reached each table, and what it sorted."""

    sql: str
    lines: tuple[str, ...]
    reached: tuple[str, ...]
    sorted_rows: int | None

    def summary(self) -> str:
        """Say in one line how each table was reached and whether rows were sorted."""
        sort = "no sort" if self.sorted_rows is None else f"sorts {in_words({'rows': self.sorted_rows})}"
        return "; ".join([*self.reached, sort])


class Backend(ABC):
    """Everything that only one engine knows. The defaults are those of a server."""

    dialect: ClassVar[str]
    """SQLAlchemy's name of the engine."""
    engine_name: ClassVar[str]
    """The name of the engine as people write it."""
    read_options: ClassVar[Mapping[str, Any]] = {}
    """Execution options of a transaction that only reads."""
    single_options: ClassVar[Mapping[str, Any]] = {}
    """Execution options of a single statement that only reads, where it needs no transaction around it."""
    write_options: ClassVar[Mapping[str, Any]]
    """Execution options of a transaction that may write."""
    error_types: ClassVar[tuple[type[Exception], ...]]
    """What the driver raises, wrapped by SQLAlchemy or bare."""

    reads_at_once: ClassVar[int] = 1000
    """How many threads of one process may be let read a page at the same time."""

    keeps_plans: ClassVar[bool] = False
    """Whether a session keeps plans. It forgets them in a rollback, so what only reads is committed too."""

    returns_into_queries: ClassVar[bool] = True
    """Whether a query can contain an INSERT, UPDATE or DELETE, and read what that returns."""

    overriding: ClassVar[str] = ""
    """What stands behind the columns of an INSERT that sets the ids itself."""

    search_write_factor: ClassVar[float] = 1.5
    """How many times as long it takes to add many tasks at once with the search index.

    It is what `benchmarks/search.py` measured."""

    place: str
    """The database as a person would name it, without a password."""
    name: str
    """What the database is called in its place."""
    distinction: str
    """What the default label adds to the name, because databases elsewhere may have the same name."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @property
    def address(self) -> str:
        """The place as archives have it, whichever of several servers answers."""
        return self.place

    @abstractmethod
    def create_engine(self) -> Engine:
        """Return an engine that begins transactions as `read_options` or `write_options` say.

        Beginning notes MIGRATED. It raises SchemaError for another encoding than UTF-8, or a missing schema.
        """

    def require(self) -> None:  # noqa: B027 (a server says by itself that a database is missing)
        """Raise DatabaseMissing when there is no database to connect to, without connecting."""

    def create(self) -> bool:
        """Make an empty database when it is missing and this engine can; return whether it did."""
        return False

    @abstractmethod
    def fingerprint(self, connect: Callable[[], AbstractContextManager[Connection]]) -> object:
        """Return a value that only this database has, whatever its name; None if it is missing."""

    @abstractmethod
    def whereabouts(self) -> set[object]:
        """Return a set that overlaps with that of any other address of the database; connect to nothing."""

    @abstractmethod
    def size(self, connection: Connection) -> int:
        """Return how many bytes the database takes."""

    def file(self) -> Path | None:
        """Return the path of the database file, which may be missing; None for a database on a server."""
        return None

    def turn(self) -> AbstractContextManager[None]:
        """Wait until it is this thread's turn to write, for a while."""
        return nullcontext()

    def transaction(self, connection: Connection) -> Transaction | None:
        """Return the running transaction, begun with `write_options`; None if it cannot be looked up."""
        return None

    @abstractmethod
    def translate(self, error: Exception) -> TaskdbError:
        """Return ours for an error of the driver: a Violation, or TableMissing, or what else it means."""

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Turn errors that come straight from the driver into ours."""
        try:
            yield
        except self.error_types as exc:
            raise self.translate(exc) from exc

    def translate_connecting(self, error: Exception) -> TaskdbError:
        """Return ours for an error of the driver while a connection was being opened."""
        return self.translate(error)

    @abstractmethod
    def bulk_insert(
        self, connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
    ) -> None:
        """Insert rows by the engine's fastest way, at constant memory, in the connection's transaction."""

    def many_inserted(self, connection: Connection, table: Table, rows: int) -> AbstractContextManager[None]:
        """Make ready for a statement that inserts so many rows into a table."""
        return nullcontext()

    @abstractmethod
    def give_ids(self, connection: Connection, table: str, rows: str) -> None:
        """Do what `database.statements.give_ids` says."""

    def lock_table(self, connection: Connection, table: str) -> None:  # noqa: B027 (SQLite has one lock)
        """Keep other transactions from changing the table until the connection's one ends."""

    def wipe(self, connection: Connection) -> None:  # noqa: B027 (a server's files are its administrator's)
        """Let nothing that was deleted stay in the files of the database; no transaction may be open."""

    def is_standby(self, connection: Connection) -> bool:
        """Return whether the server replays what another one writes."""
        return False

    def log_state(self, connection: Connection) -> LogState:
        """Return how far the server has come in its log. Raise InvalidConfiguration if there is none."""
        raise InvalidConfiguration(f"{self.engine_name} has no replicas")

    def log_end(self, connection: Connection) -> int:
        """Return the byte up to which a server has written its log. The end may not be flushed yet.

        What is committed is before it, also where a commit does not wait for the disk. Raises
        InvalidConfiguration if there is no log, and NotWritable for a server that is in recovery.
        """
        raise InvalidConfiguration(f"{self.engine_name} has no replicas")

    def flush_log(self, connection: Connection) -> None:
        """Let the server flush everything that it has written of its log, in a transaction of its own.

        Raises InvalidConfiguration if there is no log, and DatabaseUnavailable if the role may not do that.
        """
        raise InvalidConfiguration(f"{self.engine_name} has no replicas")

    def committed_position(self, connection: Connection) -> int:
        """Return a position of the log that is behind all commits that were confirmed before."""
        return self.log_state(connection).position

    def options_after(self, position: int, patience: float) -> Mapping[str, Any]:
        """Return execution options of a transaction on a replica that only reads, and sees all up to there.

        Beginning raises ReplicaBehind if the replica has not replayed that after `patience` seconds, and
        DatabaseUnavailable on a server that is no replica.
        """
        return self.read_options

    def break_connections(self) -> None:  # noqa: B027 (nobody waits for a file)
        """Break all open connections, also those that wait for an answer."""

    @abstractmethod
    def explain(self, connection: Connection, query: Select[Any]) -> Plan:
        """Run a query and return how the engine did it."""

    @abstractmethod
    def content(self, connection: Connection) -> Content:
        """Return what reads and replaces all rows over that connection."""

    @abstractmethod
    def migration(
        self, connect: Callable[[], Connection]
    ) -> AbstractContextManager[tuple[Connection, Connection]]:
        """Open a connection for a migration; no other migration runs while it is open.

        Read with the second connection before the migration, because Alembic must begin all transactions
        on the first. Leaving without an error commits everything.
        """

    def require_migratable(self, connection: Connection, statements: Callable[[], str]) -> None:  # noqa: B027
        """Raise NotPermitted if it is sure that the server will refuse these statements of a migration.

        The connection is the second one of `migration`. A file that can only be read is refused before that.
        """

    def run_revisions(self, connection: Connection, work: Callable[[], None]) -> None:
        """Run revisions on the first connection of `migration`; wait for locks that others hold."""
        work()

    @abstractmethod
    def facts(self, connection: Connection, tables: Collection[str]) -> dict[str, str]:
        """Describe the tables that exist, and everything that belongs to them and must not drift.

        A part of the search index that is as taskdb makes it is left out: a database may have it or not.
        """

    @abstractmethod
    def search_index(self, connection: Connection) -> SearchIndex:
        """Return what the database has of the search index."""

    @abstractmethod
    def build_search_index(self, connection: Connection) -> None:
        """Build what is missing or wrong of the search index, over the first connection of `migration`.

        If that fails or is interrupted, what was built is dropped again where that is possible. Raises
        SchemaError if the engine cannot have such an index.
        """

    @abstractmethod
    def drop_search_index(self, connection: Connection) -> None:
        """Drop all there is of the search index, over the first connection of `migration`."""

    def search_patience(self, session: "Session", text: str) -> int:
        """Return for how many steps a page is searched without `search_condition` at first; 0 is none."""
        return 0

    def search_condition(
        self, session: "Session", text: str, users: Collection[int], *, whole: bool
    ) -> ColumnElement[bool] | None:
        """Return a condition by which the index finds tasks that may contain the text, for a search.

        The exact condition of the search stands beside it. If there are `users`, a sequence of ids, it also
        says that the tasks belong to them. Returns None if the engine uses the index without a condition, if
        the index is off, or if it would not help to find a page (all matching tasks if `whole`).
        """
        return None

    def hides_search_index(self, connection: Connection, text: str, users: Collection[int]) -> bool:
        """Return whether a search among the tasks of users is faster without the index than a planner thinks.

        The text is a pattern of LIKE, without the % around it, in which / escapes. The caller then says that
        the condition IS TRUE: a planner looks for no index for that, but knows its statistics.
        """
        return False


def literal_sql(connection: Connection, query: ClauseElement) -> str:
    """Return the SQL with its values written in, as it can be pasted into the engine's own shell."""
    return str(query.compile(connection, compile_kwargs={"literal_binds": True}))


@contextmanager
def closed_after_failure(connection: Connection) -> Iterator[None]:
    """Close the connection if anything fails, without sending anything to the server.

    Sending could wait for ever. The transaction and its locks end with the connection, even if a statement
    is still running.
    """
    try:
        yield
    except BaseException as exc:
        connection.invalidate(exc)
        raise
