"""The HTTP API on the database of the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial, partialmethod
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI

from taskdb_cli.api.app import create_app
from taskdb_cli.database import Database
from taskdb_cli.database.options import Pool
from tests.conftest import SERVERS
from tests.samples import add_token

ANY_ENGINE = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
"""For what is decided before the database is asked."""


@pytest.fixture(params=["sqlite", SERVERS[-1]])
def engine(request: pytest.FixtureRequest) -> str:
    """SQLite and one PostgreSQL: its version makes no difference to HTTP."""
    name: str = request.param
    return name


@dataclass(frozen=True)
class Api:
    """A client that asks the application without a socket between, with an access token or none."""

    app: FastAPI
    portal: BlockingPortal
    token: str | None = None

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        given = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        options["headers"] = given | options.get("headers", {})
        return self.portal.call(partial(self._request, method, path, **options))

    async def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return await client.request(method, path, **options)

    get = partialmethod(request, "GET")
    post = partialmethod(request, "POST")
    patch = partialmethod(request, "PATCH")
    delete = partialmethod(request, "DELETE")


@pytest.fixture
def app(database: Database) -> FastAPI:
    """The application, with a small pool; on a busy machine a request may wait for its turn for long."""
    options = replace(database.options, pool=Pool(size=2, overflow=2, timeout=60))
    return create_app(Database(database.url, options))


@pytest.fixture
def nobody(app: FastAPI) -> Iterator[Api]:
    """A client without an access token."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
    ):
        yield Api(app, portal)


@pytest.fixture
def connect_as(nobody: Api, database: Database) -> Callable[..., Api]:
    """Makes a client with an access token of its own."""

    def make(scope: str = "write", owner: str | None = None) -> Api:
        return replace(nobody, token=add_token(database, f"{scope} {owner}", owner, scope=scope))

    return make


@pytest.fixture
def api(connect_as: Callable[..., Api]) -> Api:
    """A client that may do everything."""
    return connect_as()
