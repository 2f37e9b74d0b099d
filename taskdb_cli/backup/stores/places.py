"""Find the store that a path or an address names."""

import re
from pathlib import Path

from taskdb_cli.backup.stores import Store, StoredFile
from taskdb_cli.backup.stores.local import LocalStore
from taskdb_cli.errors import InvalidInput
from taskdb_cli.text.escaping import brief

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def is_address(place: str) -> bool:
    """Return whether a text is the address of something on a network, and no path."""
    return bool(_ADDRESS.match(place))


def store_at(place: str) -> Store:
    """Return the store at a path or an address; nothing is looked at yet.

    Raises InvalidInput for an address that cannot be one of a store.
    """
    if is_address(place):
        # Only whoever has a bucket waits for what it needs.
        from taskdb_cli.backup.stores.objects import object_store

        return object_store(place)
    return LocalStore(Path(place).absolute())


def file_at(place: str | Path) -> StoredFile:
    """Return the file at a path or an address; raise as `store_at` does."""
    if isinstance(place, str) and is_address(place):
        above, _, name = place.rpartition("/")
        if above.endswith(":/"):
            raise InvalidInput(
                f"{brief(place)!r} names no archive", "write the name of one behind the bucket"
            )
        return StoredFile(store_at(above), name)
    path = Path(place)
    return StoredFile(LocalStore(path.parent), path.name)
