"""An archive in its directory, and what is known of it without reading it whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from taskdb_cli.backup import encryption
from taskdb_cli.backup.archive import manifest_of, seal_of
from taskdb_cli.backup.history import Proof, Record
from taskdb_cli.backup.layout import Origin
from taskdb_cli.backup.stores import StoredFile
from taskdb_cli.errors import StoreUnavailable, TaskdbError

OriginAndRows = tuple[Origin | Proof, int]

_SHOWN = 5


@dataclass(frozen=True)
class Entry:
    """An archive as its directory shows it; the size is in bytes, and the tag is that of the store."""

    file: StoredFile
    label: str
    taken_at: datetime
    size: int
    tag: str = ""

    @property
    def name(self) -> str:
        """The name of its file."""
        return self.file.name

    @property
    def encrypted(self) -> bool:
        """Whether only its recipients can read it."""
        return encryption.is_encrypted(self.name)


def first_names(entries: Sequence[Entry]) -> str:
    """Return the names of the first few archives, and how many more there are."""
    more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return ", ".join(entry.name for entry in entries[:_SHOWN]) + more


def origin_of(entry: Entry, record: Record) -> OriginAndRows:
    """Return where an archive is from, and the number of its rows.

    The proof of an archive that was verified says it; else its manifest is read. For an encrypted archive the
    proof counts even if the file may have changed, because its digest would tell. Raises as `manifest_of`.
    """
    proof = record.of(entry.name).verified if entry.encrypted else proof_of(entry, record)
    # Proofs of taskdb 0.1.0 name no place.
    if proof and proof.place is not None:
        return proof, sum(proof.rows.values())
    manifest = manifest_of(entry.file)
    return manifest.origin, manifest.rows


def proof_of(entry: Entry, record: Record) -> Proof | None:
    """Return the proof of an archive if its file is still the one that was verified.

    The size and the tag in the list of the store say so. On a disk, or if no tag was recorded, the seal at
    the end of the file must be the same too, unless that is encrypted. Raises StoreUnavailable.
    """
    proof = record.of(entry.name).verified
    if proof is None or proof.size != entry.size or proof.tag not in ("", entry.tag):
        return None
    if proof.digest or (proof.tag and entry.file.store.directory is None):
        return proof
    try:
        return proof if seal_of(entry.file) == proof.seal else None
    except StoreUnavailable:
        raise
    except TaskdbError:
        return None
