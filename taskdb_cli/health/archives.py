"""The archives in one place, as health judges them."""

from dataclasses import dataclass, field, replace
from functools import cached_property

from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.file_names import parse_name
from taskdb_cli.backup.history import Record
from taskdb_cli.backup.ownership import Holdings, Owner, presumed
from taskdb_cli.errors import NotFound, StorageFailed, StoreUnavailable
from taskdb_cli.text.escaping import brief


@dataclass(frozen=True)
class Backups:
    """A directory of archives, and the database whose archives count."""

    directory: BackupDirectory
    owner: Owner
    configured: bool = False
    """Whether somebody chose the directory. Then it must exist."""
    fault: StorageFailed | NotFound | None = field(default=None, compare=False)
    """Why the archives cannot be read, once they have been looked at."""

    def owned_by(self, identity: str | None) -> "Backups":
        """Return the archives of the database with that identity."""
        return replace(self, owner=replace(self.owner, identity=identity))

    def looked_at(self) -> "Backups":
        """Find out whether the archives can be read, and whose archives the label means.

        A directory that is missing is a fault, unless it is the default directory that was never made.
        Raises InvalidInput if the archives may be several databases'.
        """
        path = self.directory.store.directory
        try:
            # A bucket that is missing says so when it is asked for its archives.
            if path is None or self.directory.store.exists():
                self.directory.entries(self.owner.label)
            elif self.configured or (path and path.is_symlink()):
                what = f"the backup directory {self.directory} is missing"
                missing = StorageFailed(what, "mount or create it")
                return replace(self, fault=missing)
            owner = presumed(self.directory, self.owner, anywhere=False)
        except (StorageFailed, NotFound) as exc:
            return replace(self, fault=exc)
        return replace(self, owner=owner)

    @cached_property
    def record_fault(self) -> str:
        """What is wrong with the record, or nothing."""
        for label in sorted(self.owner.labels):
            try:
                record = self.directory.load_record(label)
            except StoreUnavailable:
                raise
            except StorageFailed as exc:
                return exc.message
            for name in [each.archive for each in record.proofs] + [each.archive for each in record.drills]:
                # A path instead of a name might point outside the directory.
                if (parse_name(name) or ("",))[0] != label:
                    return f"the record names {brief(name)!r}, which is not an archive of {label}"
        return ""

    @cached_property
    def holdings(self) -> Holdings:
        """The archives. Raises StorageFailed if they cannot be read."""
        return Holdings(self.directory, self.owner)

    @property
    def record(self) -> Record:
        """The record of the database's own archives; empty if something is wrong with it."""
        return Record() if self.record_fault else self.holdings.record
