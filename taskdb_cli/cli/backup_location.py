"""Where archives are, and which one is meant, by the options and the arguments of a command."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from taskdb_cli.cli.backup_options import Directory, IdentityFiles, Label
from taskdb_cli.cli.context import Invocation, invocation
from taskdb_cli.cli.options import refuse_options_before
from taskdb_cli.errors import DatabaseMissing, HomeMissing, Incomplete, InvalidInput, NotFound, TaskdbError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from taskdb_cli.backup.directory import BackupDirectory
    from taskdb_cli.backup.entry import Entry
    from taskdb_cli.backup.keys import Identities, Recipients
    from taskdb_cli.backup.naming import Span
    from taskdb_cli.backup.ownership import Holdings, Owner
    from taskdb_cli.backup.stores import StoredFile
    from taskdb_cli.database import Database
    from taskdb_cli.database.content import Content


@dataclass
class BackupLocation:
    """Where archives are, and their label, by the options of a command or its group; raise InvalidInput."""

    ctx: typer.Context
    given_directory: Directory = None
    given_label: Label = None

    def __post_init__(self) -> None:
        outer = self.ctx.parent.params if self.ctx.parent else {}
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) or outer.get(each.name))
        if self.given_label:
            from taskdb_cli.backup.file_names import check_label

            check_label(self.given_label)

    def refuse_other_options(self) -> None:
        """Raise InvalidInput for another option of the group, which would not reach the subcommand."""
        refuse_options_before(self.ctx, vars(self))

    @property
    def run(self) -> Invocation:
        """The run of the command line."""
        return invocation(self.ctx)

    @cached_property
    def directory(self) -> BackupDirectory:
        """The directory, which need not exist yet.

        Raises InvalidInput as `directories` does, and if several are given.
        """
        self.refuse_several()
        return self.directories()[0]

    def refuse_several(self) -> None:
        """Raise InvalidInput if several directories are given."""
        if len(self.given_directory or ()) > 1:
            raise InvalidInput(
                "--dir is given several times; only 'taskdb backup', 'health' and 'user erase' allow that",
                "name one directory, and run the command again for another",
            )

    def directories(self, *, patient: bool = True) -> list[BackupDirectory]:
        """Return the directories, which need not exist yet; there is one if none is given.

        Raises InvalidInput for the address of a database, and for a directory that is given twice.
        """
        from taskdb_cli.backup.stores.places import require_distinct
        from taskdb_cli.config import data_directory

        chosen = self.given_directory or [self.run.settings.backup_dir or ""]
        default = "" if all(chosen) else str(data_directory("TASKDB_BACKUP_DIR") / "backups")
        source = self._source
        try:
            found = [self.directory_at(each or default, patient=patient) for each in chosen]
        except InvalidInput as exc:
            exc.hint += source and f"; the address comes from {source}"
            raise
        if source:
            self.run.sources[str(found[0].store)] = source
        require_distinct([each.store for each in found])
        return found

    @property
    def _source(self) -> str:
        """The setting that names the directory, and its place; empty if an option or nothing does."""
        _, layer = self.run.settings.layers.values().get("TASKDB_BACKUP_DIR", ("", None))
        return layer.place_of("TASKDB_BACKUP_DIR") if layer and not self.given_directory else ""

    def directory_at(self, place: str, *, patient: bool = True) -> BackupDirectory:
        """Return the directory at a path or an address; raise InvalidInput for the address of a database."""
        from taskdb_cli.backup.directory import BackupDirectory
        from taskdb_cli.backup.stores.places import store_at

        if place.lower().startswith(("postgres:", "postgresql:", "postgresql+")):
            # Directories would be made with its password in their names.
            what = "the backup directory is the address of a database"
            raise InvalidInput(what, "name a directory or a bucket")
        return BackupDirectory(store_at(place, patient=patient))

    def directory_of(self, archive: str | StoredFile) -> BackupDirectory:
        """Return the directory in which an archive is looked for, and its verification is recorded.

        If no directory is set and the user has no home directory, it is the directory of the archive's path.
        """
        from taskdb_cli.backup.directory import BackupDirectory
        from taskdb_cli.backup.stores.places import file_at, store_at

        try:
            return self.directory
        except HomeMissing:
            if isinstance(archive, str):
                if file_at(archive).name == archive:
                    raise
                archive = file_at(archive)
            return BackupDirectory(store_at(str(archive.store)))

    @cached_property
    def chosen_label(self) -> str | None:
        """The label that an option or a setting names."""
        from taskdb_cli.backup.file_names import check_label

        label = self.given_label or self.run.settings.backup_label
        return check_label(label) if label else None

    @cached_property
    def label(self) -> str:
        """The chosen label, or the default one, made from the name and the place of the database."""
        return self.owner(None).label

    def owner(self, identity: str | None) -> Owner:
        """Return the database with this identity, as its archives are compared with it."""
        from taskdb_cli.backup.file_names import default_label, label_of
        from taskdb_cli.backup.ownership import Owner
        from taskdb_cli.database import Database

        settings = self.run.settings
        # Only its name and place are needed, so a pooler's address will do.
        backend = Database(settings.direct_url, settings.options).backend
        if self.chosen_label:
            return Owner(identity, backend.address, self.chosen_label)
        former = frozenset({label_of(backend.name)})
        return Owner(identity, backend.address, default_label(backend.name, backend.distinction), former)

    def find(
        self, archive: str, database: Database | None, *, offline: bool = False, read_anyway: bool = False
    ) -> StoredFile:
        """Return the path of the archive that a person means; 'latest' is the newest one of the database.

        The label decides if the database is new, or None because it must not be opened, and with `offline`
        also if it cannot be reached. A caller that will `read_anyway` checks the seal itself.
        """
        from taskdb_cli.backup.stores.places import file_at

        # A key that cannot be used stops the run before any work.
        run, identities = self.run, self.identities
        if archive == "latest":
            holdings = self.holdings(database, offline=offline)
            return holdings.latest(now=run.now, say=run.say, read_anyway=read_anyway, identities=identities)
        try:
            return self.directory_of(archive).find(archive)
        except NotFound as exc:
            if not archive or file_at(archive).name != archive:
                raise
            found = self._named(archive, database, offline=offline, missing=exc)
        run.say(f"{archive} is {found}")
        return found

    def _named(self, word: str, database: Database | None, *, offline: bool, missing: NotFound) -> StoredFile:
        """Return the path of the one archive whose name begins so, or that was taken then.

        Raises InvalidInput if there are several, and `missing` with the nearest names if there is none.
        """
        from taskdb_cli.backup import naming

        everything, span, own = self.directory.entries(), _time_meant(word, self.run.now), []
        found: list[Entry] = []
        if any(naming.begins(entry, word) or naming.is_within(entry, span) for entry in everything):
            labels: set[str] = set()
            try:
                holdings = self.holdings(database, offline=offline)
                own, labels = [*holdings.own, *holdings.unreadable], holdings.labels
            except InvalidInput:
                # The archives are of several databases, so only a part of a label says which one is meant.
                if not any(naming.begins(entry, word, with_label=True) for entry in everything):
                    raise
            found = naming.matching(word, span, own=own, labels=labels, everything=everything)
        if len(found) > 1:
            raise naming.several(word, found)
        if not found:
            if near := naming.nearest(word, span, own or everything):
                missing.hint = f"the nearest are {', '.join(near)}; {missing.hint}"
            if span is None and re.fullmatch(r"\d{4}-?\d\d-?\d\d", word):
                missing.hint = f"there is no such day; {missing.hint}"
            raise missing
        return found[0].file

    def holdings(self, database: Database | None, *, offline: bool) -> Holdings:
        """Return the archives of the database, or of the one that a new or unknown database would follow."""
        from taskdb_cli.backup.ownership import Holdings, presumed
        from taskdb_cli.services.migrate import identify

        identity, holds_rows = None, False
        try:
            if database:
                identity, holds_rows = identify(database)
        except DatabaseMissing:
            pass
        except TaskdbError as exc:
            if not offline:
                raise
            self.run.say(f"archives are chosen by the label only: {exc.message}")
        found = Holdings(self.directory, owner := self.owner(identity))
        if not (holds_rows or found.own):
            anywhere = database is not None and not self.chosen_label
            found = Holdings(
                self.directory, presumed(self.directory, owner, anywhere=anywhere, identities=self.identities)
            )
        return found

    def recipients(self, given: list[str] | None) -> Recipients:
        """Return for whom archives are encrypted: those of the option, or else of the setting, or nobody.

        Raises InvalidInput for a key, or a file of keys, that cannot be used.
        """
        from taskdb_cli.backup.keys import recipients_in, recipients_of

        path = self.run.settings.backup_recipients
        return recipients_of(given) if given else recipients_in(path) if path else ()

    def recipient_texts(self, given: list[str] | None) -> list[str]:
        """Return the same keys as they are written."""
        from taskdb_cli.backup.keys import public_keys_in

        path = self.run.settings.backup_recipients
        return given or (public_keys_in(path) if path else [])

    @property
    def identities(self) -> Identities:
        """The secret keys that open encrypted archives. Commands that open none have none."""
        return ()

    def save(
        self,
        source: Database | Content,
        what: str,
        *,
        label: str,
        recipients: Recipients,
        guarded: bool = False,
        say: Callable[[str], object] | None = None,
    ) -> None:
        """Back up what is about to change, and say where the archive is. It need not be recorded.

        Raises as `create.take` does.
        """
        from taskdb_cli.backup.create import take

        now, directory = self.run.now, self.directory
        try:
            backup = take(source, directory, label=label, now=now, recipients=recipients, guarded=guarded)
            message = f"backed up {what} to {backup.file}"
        except Incomplete as exc:
            message = exc.message
        (say or self.run.say)(message)


@dataclass
class LocationWithKeys(BackupLocation):
    """A location for commands that open archives, with the secret keys of encrypted ones."""

    given_identities: IdentityFiles = None

    @cached_property
    def identities(self) -> Identities:
        """The secret keys of the option, or else of the setting; raise InvalidInput if a file is unusable."""
        from taskdb_cli.backup.keys import identities_of

        return tuple(key for path in self.identity_files for key in identities_of(path))

    @property
    def identity_files(self) -> list[Path]:
        """The files of these keys."""
        setting = self.run.settings.backup_identity
        return self.given_identities or ([setting] if setting else [])

    def require_identity_of(self, recipients: Recipients) -> None:
        """Raise InvalidInput if no identity opens what is encrypted for all of these recipients."""
        from taskdb_cli.backup.keys import opens

        if recipients and not opens(self.identities, recipients):
            wrong = "no identity is of one of the recipients" if self.identities else "no identity is given"
            raise InvalidInput(
                f"a test restore opens the encrypted archive, and {wrong}",
                "name its file by --identity, or run 'taskdb backup verify latest --drill' where it is",
            )


def _time_meant(word: str, now: datetime) -> Span | None:
    """Return the day, the minute or the second that a word means, or None if it means no time."""
    from taskdb_cli.times import parse_when

    try:
        first, last = (parse_when(word, now=now, end_of_day=end, forward=False) for end in (False, True))
    except InvalidInput:
        return None
    if first < last:
        return first, last + timedelta(seconds=1)
    seconds = {"microseconds": 1} if first.microsecond else {"seconds": 1} if first.second else {"minutes": 1}
    return first, first + timedelta(**seconds)
