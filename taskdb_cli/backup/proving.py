"""Compare archives with what the record says of them. This needs no key."""

import math
from typing import Any

from taskdb_cli.backup.archive import Archive
from taskdb_cli.backup.encryption import digest_within
from taskdb_cli.backup.file_names import parse_name
from taskdb_cli.backup.history import Proof
from taskdb_cli.backup.stores import StoredFile
from taskdb_cli.errors import ArchiveCorrupt, ArchiveEncrypted


def compare(file: StoredFile, proof: Proof, *, seconds: float = math.inf) -> bool:
    """Compare all bytes of an archive with those that were verified; return False if that takes too long.

    Then only their number was compared, and the seal of an archive that is not encrypted. Raises
    ArchiveCorrupt if they differ, and as `Store.open`.
    """
    with file.open() as opened:
        if opened.size != proof.size:
            what = f"it has {opened.size:,} bytes, and had {proof.size:,} when it was verified"
            raise ArchiveCorrupt(file, what)
        if not proof.digest:
            archive = Archive(file, opened)
            if archive.seal != proof.seal:
                raise ArchiveCorrupt(file, "it is not the file that was verified: its seal is different")
            found, wanted = archive.matching_seal(seconds=seconds), proof.seal
        else:
            found, wanted = digest_within(opened, seconds), proof.digest
    if found not in (None, wanted):
        raise ArchiveCorrupt(file, f"its bytes do not match its {'digest' if proof.digest else 'seal'}")
    return found is not None


def require_proof(file: StoredFile, proof: Proof | None) -> Proof:
    """Return the proof of an encrypted archive; raise ArchiveEncrypted if the record has none."""
    if proof is None or not proof.digest:
        what = f"{file} is encrypted, and no record says what it holds"
        raise ArchiveEncrypted(what, "'taskdb backup verify ARCHIVE --identity FILE' reads it and records it")
    return proof


def recorded(archive: str, proof: Proof | None) -> dict[str, Any]:
    """Return what is known of an encrypted archive, with the keys of `Manifest.record`; the rest is None."""
    label, taken_at = parse_name(archive) or (None, None)
    unknown = {"columns": None, "bytes": None, "sha256": None}
    rows = proof.rows.items() if proof else ()
    return {
        "format": None,
        "tool": None,
        "created_at": proof.taken_at if proof else taken_at,
        "label": label,
        "engine": None,
        "server_version": None,
        "revision": proof and proof.revision,
        "tables": [{"name": name, "rows": number, **unknown} for name, number in rows] if proof else None,
        "identity": proof and proof.identity,
        "place": proof and proof.place,
    }
