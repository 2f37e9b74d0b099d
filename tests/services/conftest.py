"""Databases that several tests only read, built once for a process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import make_url

from taskdb_cli.database import Database
from tests.conftest import _dropper, _urls_key, connect, open_database, plain_url


@pytest.fixture(scope="session")
def shared(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, Callable[[Database], None]], Database]]:
    """Makes a migrated database of an engine, filled by that function the first time it is asked for."""
    made: dict[tuple[str, str], Database] = {}
    drops = []
    urls = pytestconfig.stash[_urls_key]

    def make(engine: str, fill: Callable[[Database], None]) -> Database:
        if (engine, fill.__qualname__) in made:
            return made[engine, fill.__qualname__]
        if engine == "sqlite":
            path = tmp_path_factory.mktemp("shared") / "shared.sqlite3"
            shutil.copy(str(make_url(urls["sqlite"]).database), path)
            database = open_database(make_url(f"sqlite:///{path}"))
        else:
            server, name = plain_url(urls[engine]), f"taskdb_shared_{os.getpid()}_{len(made)}"
            with connect(server) as connection:
                connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{urls["template"]}" ENCODING UTF8')
            drops.append(_dropper(server, name))
            database = open_database(server.set(database=name))
        fill(database)
        made[engine, fill.__qualname__] = database
        return database

    yield make
    for drop in drops:
        drop()
