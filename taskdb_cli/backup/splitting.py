"""Write one archive to several places at once. A place that fails is left out, and the others go on."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.stores import NewFile, StoredFile
from taskdb_cli.errors import Interrupted, TaskdbError


class Branch:
    """A new archive in one of the places of a run, until something fails there; then `failure` says what.

    Whatever is open in the place is left with the error then, so that nothing of the archive stays.
    """

    new: NewFile

    def __init__(self, directory: BackupDirectory, name: str, label: str) -> None:
        self.directory, self.label = directory, label
        self.file = StoredFile(directory.store, name)
        self.failure: TaskdbError | None = None
        self._locked, self._writing = ExitStack(), ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The lock is left with the error too.
        self._locked.push(self._writing)
        self._locked.__exit__(kind, exc, traceback)

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Do something in the place, and leave the place out if it fails; other errors pass."""
        try:
            yield
        except Interrupted:
            raise
        except TaskdbError as exc:
            self.failure = exc
            try:
                self.__exit__(type(exc), exc, exc.__traceback__)
            except Interrupted:
                raise
            except TaskdbError:
                # The first error is the reason.
                return

    def open(self) -> None:
        """Lock the label in the place, remove what dead runs left, and open the new file."""
        self.directory.store.make()
        self._locked.enter_context(self.directory.lock(self.label))
        self.directory.sweep(self.label)
        self.new = self._writing.enter_context(self.file.store.create(self.file.name))

    def publish(self) -> None:
        """Give the file its name. The label stays locked until the branch is left."""
        self.directory.require_lock(self.label)
        self._writing.close()


class SplitFile:
    """A file that is written to each branch that has not failed."""

    def __init__(self, branches: Sequence[Branch]) -> None:
        self._branches = branches

    def write(self, data: bytes) -> int:
        """Write all of the data to each branch; raise as `working` does."""
        for branch in working(self._branches):
            with branch.trying():
                branch.new.write(data)
        working(self._branches)
        return len(data)


def working(branches: Sequence[Branch]) -> list[Branch]:
    """Return the branches that have not failed.

    If there is none, the error of the first one is raised, with the reasons of all.
    """
    if found := [branch for branch in branches if branch.failure is None]:
        return found
    failures = [branch.failure for branch in branches if branch.failure]
    first = failures[0]
    first.message = "; ".join(dict.fromkeys(each.message for each in failures))
    raise first
