"""Find the store that a path or an address names."""

import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from taskdb_cli.backup.stores import Store, StoredFile
from taskdb_cli.backup.stores.local import LocalStore
from taskdb_cli.errors import InvalidInput
from taskdb_cli.system.paths import is_same
from taskdb_cli.text.escaping import brief

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def is_address(place: str) -> bool:
    """Return whether a text is the address of something on a network, and no path."""
    return bool(_ADDRESS.match(place))


def store_at(place: str, *, patient: bool = True) -> Store:
    """Return the store at a path or an address; nothing is looked at yet.

    Without patience a bucket tells soon that it cannot be reached. Raises InvalidInput for an address that
    cannot be one of a store.
    """
    if is_address(place):
        # The imports for buckets take long, so only a bucket pays for them.
        if place.lower().startswith("az:"):
            from taskdb_cli.backup.stores.azure import Container

            return Container.at(place, patient=patient)
        from taskdb_cli.backup.stores.objects import ObjectStore

        return ObjectStore.at(place, patient=patient)
    if half := re.match(r"(s3|az):", place, re.IGNORECASE):
        # Somebody would believe that the archives are off the machine.
        what = f"{brief(place)!r} may be the address of a bucket or a path"
        raise InvalidInput(what, f"write {half[1].lower()}://BUCKET/PREFIX, or ./ before a directory")
    return LocalStore(Path(place).absolute())


def require_distinct(stores: Sequence[Store]) -> None:
    """Raise InvalidInput if two of the stores are one place, also by another path or address."""
    for store, other in combinations(stores, 2):
        paths = store.directory, other.directory
        if str(store) == str(other):
            raise InvalidInput(f"{store} is named twice", "name each place once")
        if paths[0] and paths[1] and is_same(paths[0], paths[1]):
            raise InvalidInput(f"{store} and {other} are the same place", "name each place once")


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
