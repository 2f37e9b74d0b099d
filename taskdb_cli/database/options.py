"""How a database is reached, for how long anything may take, and what a new row may be."""

from dataclasses import dataclass, field

from taskdb_cli.system.account import system_user
from taskdb_cli.system.environment import READ_ADDRESS


@dataclass(frozen=True)
class Origin:
    """Who changes rows, and by what."""

    actor: str
    command: str
    """A command or a route, without values."""


@dataclass(frozen=True)
class Pool:
    """Connections that a long-lived process keeps open and shares among its threads."""

    size: int = 5
    overflow: int = 5
    """How many more may be opened at a time of need."""
    timeout: int = 10
    """Seconds to wait for one of them."""


@dataclass(frozen=True)
class Options:
    """The limits of every connection; times are in seconds, and 0 means none where it is allowed."""

    connect_timeout: int = 15
    statement_timeout: float = 300
    bulk_timeout: float = 0
    """How long a statement of work on any number of rows may take, such as an import."""
    lock_timeout: int = 10
    retry_budget: int = 30
    """How long a unit of work may be tried again after it failed on a passing fault."""
    migration_wait: int = 60
    """How long a migration waits for another one or a backup, and tries to get the locks it needs."""
    migration_timeout: int = 0
    """How long a statement of a migration may take."""
    schema: str | None = None
    """The PostgreSQL schema that holds the tables; None for the one that the search path finds."""
    pooled: bool = False
    """Whether a pooler hands out the sessions, which are then not ours to set."""
    pool: Pool | None = None
    """Without one, each unit of work opens a connection and closes it."""
    keep: bool = False
    """Whether units of work share a connection: an address may lead to several servers."""
    disposable: bool = False
    """Whether a SQLite file is deleted after use. Then it does not need to survive a crash."""
    secret: bool = False
    """Whether SQLite keeps temporary tables, and what it sorts, in memory and in no temporary file."""
    source: str = field(default="", compare=False)
    """The setting that names the database, and its place, as errors name them; empty if there is none."""
    read_address: str = READ_ADDRESS
    """What the setting that names a replica is called where it is set: in a profile it has another name."""
    slow_query_ms: int = 1000
    actor: str = ""
    """Who changes rows; the user of the system if it is empty."""
    command: str = "library"
    """What changes rows: the command, without values."""
    allow_special_domains: bool = False
    """Whether the address of a new user may end in a special-use domain, such as corp.local."""

    @property
    def origin(self) -> Origin:
        """Who changes rows, and by what, unless a unit of work says it."""
        return Origin(self.actor or system_user(), self.command)

    def with_source(self, hint: str) -> str:
        """Return the hint of an error about the address of the database, with where that comes from."""
        return "; ".join(filter(None, [hint, self.source and f"the address comes from {self.source}"]))

    def statement_limit(self, *, bulk: bool) -> tuple[float, str]:
        """Return how long a statement may take, and the setting that says so."""
        if bulk:
            return self.bulk_timeout, "TASKDB_BULK_TIMEOUT"
        return (
            self.statement_timeout,
            "TASKDB_API_STATEMENT_TIMEOUT" if self.pool else "TASKDB_STATEMENT_TIMEOUT",
        )
