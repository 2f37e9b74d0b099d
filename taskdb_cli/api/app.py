"""The application: its routes, its middleware, and what it answers to errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from http import HTTPStatus
from typing import NoReturn

from anyio.to_thread import current_default_thread_limiter, run_sync
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from taskdb_cli import __version__
from taskdb_cli.api import history, operations, schemas, tasks, users
from taskdb_cli.api.auth import LastUse
from taskdb_cli.api.middleware import REQUEST_ID, Observer
from taskdb_cli.api.problems import problem_response
from taskdb_cli.api.replica import Replica
from taskdb_cli.api.routing import SCHEMA_HINT
from taskdb_cli.database import Database
from taskdb_cli.errors import InvalidInput
from taskdb_cli.text.faults import reasons


def create_app(database: Database, replica: Replica | None = None) -> FastAPI:
    """Return the application on a database. It closes the pools when it ends."""
    app = FastAPI(
        title="taskdb",
        version=__version__,
        description=schemas.INTRODUCTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    state = app.state
    state.database, state.replica = database, replica
    state.metrics = operations.Metrics(database, replica)
    state.readiness, state.last_use = operations.Readiness(database), LastUse(database)
    for part in (users, tasks, history, operations):
        app.router.routes.extend(part.router.routes)
    for route in list(app.router.routes):
        # The server leaves out the body of an answer to HEAD.
        if isinstance(route, APIRoute) and "GET" in (route.methods or ()):
            head = copy(route)
            head.methods, head.include_in_schema = {"HEAD"}, False
            app.router.routes.append(head)
    app.add_middleware(
        Observer, database=database, last_use=state.last_use, metrics=state.metrics, replica=replica
    )
    app.add_exception_handler(RequestValidationError, _refuse)
    app.add_exception_handler(HTTPException, _answer_unrouted)
    schemas.complete(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    database: Database = app.state.database
    engine, pool = database.engine, database.options.pool
    if pool is not None:
        # One thread for each connection. More threads would only wait for a connection until they time out.
        current_default_thread_limiter().total_tokens = pool.size + pool.overflow
    replica: Replica | None = app.state.replica
    if replica is not None:
        replica.watch()
    yield
    if replica is not None:
        await run_sync(replica.close)
    await run_sync(app.state.last_use.close)
    engine.dispose()


async def _refuse(request: Request, error: Exception) -> NoReturn:
    """Raise InvalidInput for what FastAPI found wrong; the Observer answers it as every other error."""
    # The first part of a place is query, path, header or body, and the name is enough without it.
    raise InvalidInput("; ".join(reasons(error, skip=1)), SCHEMA_HINT)


async def _answer_unrouted(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "usage")
    answer = problem_response(request.scope[REQUEST_ID], error.status_code, code, error.detail, SCHEMA_HINT)
    answer.headers.update(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        routes = [route for route in request.app.router.routes if isinstance(route, Route)]
        found = [route.methods or () for route in routes if route.matches(request.scope)[0] is not Match.NONE]
        answer.headers["Allow"] = ", ".join(sorted({method for methods in found for method in methods}))
    return answer
