"""What a check gets to see, and how it says what it found."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from sqlalchemy import Connection

from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.history import Record
from taskdb_cli.backup.names import parse_name
from taskdb_cli.backup.ownership import Holdings, Owner, holdings, other_labels, presumed
from taskdb_cli.database import Database
from taskdb_cli.database.health import Identity, NotMeasured, Probe, Visit
from taskdb_cli.errors import DataCorrupt, SchemaError, SchemaForeign, StorageFailed, TaskdbError
from taskdb_cli.health import TIMEOUT
from taskdb_cli.health.report import Check, Limits, Status, Unit
from taskdb_cli.health.thresholds import Thresholds


class NoAnswer(Exception):
    """What the check needs could not be had, for the reason that is its message."""


@dataclass(frozen=True)
class Backups:
    """The directory and the label of a database's archives, and the database that they are compared with.

    While `owner` is None, the archives of that label count if all of them are of one database.
    """

    directory: BackupDirectory
    label: str
    configured: bool = False
    """Whether somebody chose the directory. Then it must exist."""
    former_labels: frozenset[str] = frozenset()
    place: str | None = None
    owner: Owner | None = None

    def of(self, identity: str | None) -> Backups:
        """Return the archives of the database with that identity."""
        return replace(self, owner=Owner(identity, self.place, self.label, self.former_labels))

    def of_anybody(self) -> Backups:
        """Return the archives of that label; raise InvalidInput if they are of several databases."""
        owner = Owner(None, self.place, self.label, self.former_labels)
        return replace(self, owner=owner if self.fault else presumed(self.directory, owner, anywhere=False))

    @cached_property
    def fault(self) -> str:
        """Why the archives cannot be read; empty if they can, or if the default directory was never made."""
        path = self.directory.path
        if not os.path.lexists(path):
            return f"the backup directory {path} is missing" if self.configured else ""
        if path.exists() and not path.is_dir():
            return f"the backup directory {path} is not a directory"
        try:
            self.directory.entries(self.label)
        except StorageFailed as exc:
            return exc.message
        return "" if path.exists() else f"the backup directory {path} is a link to nowhere"

    @cached_property
    def record_fault(self) -> str:
        """What is wrong with the record, or nothing."""
        assert self.owner is not None
        return next(filter(None, map(self._fault_of_record, sorted(self.owner.labels))), "")

    def _fault_of_record(self, label: str) -> str:
        try:
            record = self.directory.load_record(label)
        except StorageFailed as exc:
            return exc.message
        # A path instead of a name might point outside the directory.
        names = [proof.archive for proof in record.proofs] + [drill.archive for drill in record.drills]
        for name in names:
            parsed = parse_name(name)
            if parsed is None or parsed[0] != label:
                return f"the record names {name!r}, which is not an archive of {label}"
        return ""

    @cached_property
    def holdings(self) -> Holdings:
        """The archives. Raises StorageFailed if they cannot be read."""
        assert self.owner is not None
        return holdings(self.directory, self.owner)

    def not_counted(self) -> list[str]:
        """Return in words which archives there are that do not count."""
        assert self.owner is not None
        labels = other_labels(self.directory, self.owner)
        reasons = [f"this database has archives under the label {', '.join(labels)}"] if labels else []
        return self.holdings.count_others(self.holdings.others) + reasons

    @property
    def record(self) -> Record:
        """The record of the database's own archives; empty if something is wrong with it.

        Raises NotMeasured if the directory cannot be read.
        """
        if self.fault:
            raise NotMeasured(self.fault)
        return Record() if self.record_fault else self.holdings.record


@dataclass
class Subject:
    """The database that is looked at, shared by all checks of one run: what several need is fetched once."""

    database: Database
    now: datetime
    backups: Backups | None = None
    failure: TaskdbError | None = field(default=None, init=False)
    """Why there is no connection, once one has been tried."""
    seconds: float = field(default=TIMEOUT, init=False)
    """The time that is left for the check that runs."""
    _visit: Visit | None = field(default=None, init=False)
    _counted: Backups | None = field(default=None, init=False)

    @property
    def visit(self) -> Visit:
        """The connection, opened on first use.

        Raises DataCorrupt for a file that is damaged or no database, and else NoAnswer if there is no
        connection. Only the first of them says why.
        """
        if self._visit is None:
            self._open()
        assert self._visit is not None
        return self._visit

    def _open(self) -> None:
        if self.failure is not None:
            raise self.failure if isinstance(self.failure, DataCorrupt) else NoAnswer("no connection")
        try:
            self._visit = Visit(self.database)
        except (DataCorrupt, SchemaForeign) as exc:
            self.failure = DataCorrupt(exc.message, exc.hint)
            raise self.failure from exc
        except TaskdbError as exc:
            self.failure = exc
            raise NoAnswer(f"no connection: {exc}") from exc

    @property
    def probe(self) -> Probe:
        """What measures the database."""
        return self.visit.probe

    @property
    def connection(self) -> Connection:
        """The connection itself."""
        return self.visit.connection

    def learn_identity(self) -> bool:
        """Ask the database for its identity; return whether the checks of archives must be made again."""
        from taskdb_cli.database.identity import read_identity

        if self.backups is None:
            return False
        identity = read_identity(self.connection)
        before = self._counted
        self._counted = self.backups.of(identity)
        return before is None or before.owner != self._counted.owner

    @property
    def counted_backups(self) -> Backups:
        """The archives that count for the database; before its identity is known, the label decides.

        Raises NotMeasured if nobody said where they are, and InvalidInput if they may be several databases'.
        """
        if self.backups is None:
            raise NotMeasured("no backup directory is known", "set TASKDB_BACKUP_DIR")
        if self._counted is None:
            self._counted = self.backups.of_anybody()
        return self._counted

    @cached_property
    def schema_problem(self) -> SchemaError | None:
        """What is wrong with the revision, or None at head."""
        from taskdb_cli.database.schema import compare_revision, current_revision

        try:
            return compare_revision(current_revision(self.connection))
        except SchemaError as exc:
            return exc

    def require_head(self) -> None:
        """Raise NoAnswer if the tables are not those that this version knows."""
        if self.schema_problem is not None:
            raise NoAnswer(f"needs the newest schema: {self.schema_problem.message}")

    @cached_property
    def differences(self) -> list[str]:
        """How the live schema differs from the models."""
        from taskdb_cli.services.migrate import differences

        return list(differences(self.connection, self.database.backend))

    @cached_property
    def identities(self) -> list[Identity]:
        """The identity of each table."""
        return self.probe.identities()

    def set_time(self, seconds: float) -> None:
        """Set the time that is left, in seconds."""
        self.seconds = seconds
        if self._visit is not None:
            with self.database.translating():
                self._visit.probe.set_time(seconds)

    def recover(self) -> None:
        """Forget a statement that failed."""
        if self._visit is not None:
            self._visit.recover()

    def sever(self) -> None:
        """Make what runs fail, from another thread."""
        if self._visit is not None:
            self._visit.probe.sever()

    def close(self) -> None:
        """Close the connection."""
        if self._visit is not None:
            self._visit.close()


@dataclass(frozen=True)
class Look:
    """One check's look at the subject."""

    name: str
    thresholds: Thresholds
    subject: Subject

    @property
    def limits(self) -> Limits:
        """The limits of this check."""
        return self.thresholds.of(self.name)

    @property
    def backups(self) -> Backups:
        """The archives that count as the database's; raise NotMeasured if nobody said where they are."""
        return self.subject.counted_backups

    @property
    def probe(self) -> Probe:
        """What measures the database."""
        return self.subject.probe

    def found(
        self,
        status: Status,
        message: str,
        *,
        remedy: str = "",
        value: float | None = None,
        unit: Unit = Unit.NUMBER,
    ) -> Check:
        """Return what was found; where all is well there is nothing to mend."""
        return Check(
            self.name, status, message, value, unit, self.limits, "" if status is Status.OK else remedy
        )

    def judged(self, value: float, message: str, *, remedy: str = "", unit: Unit = Unit.NUMBER) -> Check:
        """Return a value that was measured, judged by the limits of this check."""
        return self.found(self.limits.judge(value), message, remedy=remedy, value=value, unit=unit)

    def none_of(
        self, names: list[str], fine: str, bad: str, *, remedy: str, status: Status = Status.CRITICAL
    ) -> Check:
        """Return what was found of something of which there should be nothing; `bad` introduces the names."""
        if not names:
            return self.found(Status.OK, fine, value=0)
        return self.found(status, f"{bad}: {shortened(names)}", remedy=remedy, value=len(names))


MOST_NAMED = 5


def shortened(names: list[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = len(names) - MOST_NAMED
    return "; ".join(names[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
