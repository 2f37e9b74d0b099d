"""Build a statement once, and run it again with the values of others that are like it.

SQLAlchemy takes longer to build a statement of many columns than to run it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from taskdb_cli.database.backend import REPEATED

Parts = Sequence[sa.ClauseElement]
"""The clauses that a statement is made of, with its values."""

_KEPT = 200
"""How many statements are kept."""

_REPEATED = {REPEATED: True}


class _Recipe:
    """How a statement is made. Recipes are equal if their statements differ in nothing but values."""

    def __init__(self, make: Callable[[], sa.Executable], parts: Parts, names: Collection[str]) -> None:
        # SQLAlchemy keeps the SQL of statements by the same keys.
        found = [part._generate_cache_key() for part in parts]  # noqa: SLF001
        keys = [key for key in found if key]
        # What has no key equals nothing.
        alike = len(keys) == len(found)
        self._key = (make.__code__, *names, *(key.key for key in keys)) if alike else object()
        self.values = [value for key in keys for value in key.bindparams]
        self.make = make

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Recipe) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def execute_alike(
    connection: sa.Connection,
    make: Callable[[], sa.Executable],
    parts: Parts | None,
    named: Mapping[str, Any],
) -> sa.CursorResult[Any]:
    """Run the statement that `make` builds of these parts, or a kept one that was built of parts like them.

    Without parts it is built anew and not kept. `named` are the values of parameters by their names.
    """
    if parts is None:
        return connection.execute(make(), named)
    recipe = _Recipe(make, parts, named)
    statement, keys = _made(recipe)
    values = dict(zip(keys, (each.effective_value for each in recipe.values), strict=True))
    return connection.execute(statement, {**values, **named}, execution_options=_REPEATED)


@lru_cache(_KEPT)
def _made(recipe: _Recipe) -> tuple[sa.Executable, list[str]]:
    return recipe.make(), [each.key for each in recipe.values]
