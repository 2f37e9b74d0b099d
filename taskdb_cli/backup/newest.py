"""Choose the archive that 'latest' means."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from taskdb_cli.backup.archive import Archive, seal_of
from taskdb_cli.backup.create import read_back
from taskdb_cli.backup.directory import BackupDirectory, Entry
from taskdb_cli.backup.history import Proof
from taskdb_cli.backup.ownership import Holdings, Owner, holdings, other_labels
from taskdb_cli.errors import ArchiveCorrupt, InvalidInput, NotFound, TaskdbError

_MOST_NAMED = 5
_LIST = "'taskdb backup list' shows all archives; you can name any of them"


def latest(
    directory: BackupDirectory,
    owner: Owner,
    *,
    now: datetime,
    say: Callable[[str], object],
    read_anyway: bool = False,
) -> Path:
    """Return the newest archive of a database that is verified and not dated in the future.

    Its bytes are compared with its seal, unless the caller will `read_anyway`. An archive without a record
    is read and verified here. `say` gets one line for each archive that is passed over. Raises NotFound if
    there is no such archive, InvalidInput if the database has archives under other labels only, and the
    error of the newest damaged archive if all are damaged.
    """
    found = holdings(directory, owner)
    failures: list[TaskdbError] = []
    for entry in sorted([*found.own, *found.unreadable], key=lambda each: each.taken_at, reverse=True):
        try:
            if entry.taken_at > now:
                raise _Future(entry)
            unknown = _require_verified(entry, found, read_anyway=read_anyway)
        except TaskdbError as exc:
            failures.append(exc)
        else:
            for message in [*(failure.message for failure in failures), *_newer(found, entry)]:
                say(f"passed over: {message}")
            if unknown:
                say(f"{entry.path} had not been verified here; it was verified now")
            return entry.path
    raise _nothing(directory, owner, found, failures)


class _Future(NotFound):
    """An archive is dated in the future."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(f"{entry.path} is dated in the future", "set the clock right, or name the file")


def _require_verified(entry: Entry, found: Holdings, *, read_anyway: bool) -> bool:
    """Raise if an archive is damaged; return whether it had no record and was verified now."""
    if entry in found.unreadable:
        raise found.unreadable[entry]
    proof = found.record.proof_of(entry.path.name)
    if proof is None:
        read_back(entry.path)
    elif not _is_as_verified(entry, proof):
        raise ArchiveCorrupt(entry.path, "it is not the file that was verified")
    elif not read_anyway:
        # A flipped bit leaves the size and the text of the seal as they were.
        Archive.open(entry.path).close()
    return proof is None


def _is_as_verified(entry: Entry, proof: Proof) -> bool:
    return (entry.size, seal_of(entry.path)) == (proof.size, proof.seal)


def _newer(found: Holdings, chosen: Entry) -> list[str]:
    """Return in words which newer archives are of other databases."""
    return found.count_others(entry for entry in found.others if entry.taken_at > chosen.taken_at)


def _nothing(
    directory: BackupDirectory, owner: Owner, found: Holdings, failures: list[TaskdbError]
) -> TaskdbError:
    what = f"there is no good archive of {owner.label} in {directory.path}"
    damage = next((each for each in failures if not isinstance(each, _Future)), None)
    labels = other_labels(directory, owner)
    reasons = [failure.message for failure in failures] + found.count_others(found.others)
    reasons += [f"this database has archives under the label {', '.join(labels)}"] if labels else []
    message = "; ".join([what, *reasons[:_MOST_NAMED]])
    if damage is not None:
        damage.message = message
        return damage
    if labels and owner.former_labels:
        return InvalidInput(message, "choose one with --label")
    return NotFound(message, _LIST)
