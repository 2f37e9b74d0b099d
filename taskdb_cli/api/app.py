"""The application: routes, what surrounds them, and its description."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from http import HTTPStatus
from typing import Any

from anyio.to_thread import current_default_thread_limiter, run_sync
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from taskdb_cli import __version__
from taskdb_cli.api import description, operations, tasks, users
from taskdb_cli.api.last_use import LastUse
from taskdb_cli.api.metrics import Metrics
from taskdb_cli.api.middleware import FAULT, REQUEST_ID, Bounded, BoundedQuery, Guard, Observer, TooLarge
from taskdb_cli.api.problems import Problem, problem_of, too_large
from taskdb_cli.api.schemas import UnsupportedBody
from taskdb_cli.api.searches import Searches
from taskdb_cli.database import Database
from taskdb_cli.errors import TaskdbError
from taskdb_cli.services.validation import reason

_CODES = {404: "not_found", 405: "method_not_allowed"}


def create_app(database: Database) -> FastAPI:
    """Return the application on a database, of which it closes the pool when it ends."""
    metrics = Metrics(database)
    app = FastAPI(
        title="taskdb",
        version=__version__,
        description=description.INTRODUCTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.database, app.state.metrics = database, metrics
    app.state.readiness = operations.Readiness(database)
    app.state.last_use = LastUse(database)
    for part in (users, tasks, operations):
        app.router.routes.extend(part.router.routes)
    _answer_head(app)
    # The last one added comes first.
    app.add_middleware(Searches, database=database)
    app.add_middleware(BoundedQuery)
    app.add_middleware(Guard, database=database, last_use=app.state.last_use)
    app.add_middleware(Bounded)
    app.add_middleware(Observer, metrics=metrics)
    app.add_exception_handler(TaskdbError, _tell_error)
    app.add_exception_handler(TooLarge, _tell_too_large)
    app.add_exception_handler(RequestValidationError, _tell_invalid)
    app.add_exception_handler(HTTPException, _tell_unrouted)
    description.complete(app)
    return app


def _answer_head(app: FastAPI) -> None:
    """Let every route that answers GET answer HEAD too. The server leaves out the body."""
    for route in [route for route in app.router.routes if isinstance(route, APIRoute)]:
        if "GET" in (route.methods or ()):
            head = copy(route)
            head.methods, head.include_in_schema = {"HEAD"}, False
            app.router.routes.append(head)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    database: Database = app.state.database
    engine, pool = database.engine, database.options.pool
    if pool is not None:
        # A thread for each connection: more would only wait for one, and be told that none came free.
        current_default_thread_limiter().total_tokens = pool.size + pool.overflow
    yield
    await run_sync(app.state.last_use.close)
    engine.dispose()


async def _tell_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TaskdbError)
    request.scope[FAULT] = error
    problem = problem_of(error)
    if isinstance(error, UnsupportedBody):
        problem = Problem(415, error.code, error.message, error.hint)
    return _answer(request, problem)


async def _tell_too_large(request: Request, error: Exception) -> Response:
    return _answer(request, too_large())


async def _tell_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # The first of the place is query, path or header, which the name tells by itself.
    found = [reason(tuple(each["loc"][1:]), each["type"], each["msg"]) for each in error.errors()]
    return _answer(request, Problem(422, "usage", "; ".join(found), "the parameters are in /openapi.json"))


async def _tell_unrouted(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers: dict[str, Any] = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods_of(request))
    code = _CODES.get(error.status_code, "usage")
    return _answer(request, Problem(error.status_code, code, error.detail, "", headers))


def _methods_of(request: Request) -> list[str]:
    """Return the methods of all routes of the path."""
    routes = [route for route in request.app.router.routes if isinstance(route, Route)]
    allowed = [route.methods or () for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for methods in allowed for method in methods})


def _answer(request: Request, problem: Problem) -> Response:
    return problem.response(request.scope[REQUEST_ID])
