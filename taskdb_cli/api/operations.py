"""What those who run the server ask of it."""

from __future__ import annotations

from dataclasses import replace

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Request, Response

from taskdb_cli.api import metrics
from taskdb_cli.api.caller import Reading
from taskdb_cli.api.description import described_router
from taskdb_cli.api.records import json_response
from taskdb_cli.database import Database
from taskdb_cli.services import migrate

router = described_router("operations")

READY_SECONDS = 5
"""How long connecting may take, when it is asked whether the server is ready."""


class Readiness:
    """Looks whether the database answers, apart from the threads and the pool that may be busy or stuck."""

    def __init__(self, database: Database) -> None:
        limit = min(READY_SECONDS, database.options.connect_timeout)
        hasty = replace(database.options, pool=None, retry_budget=0, connect_timeout=limit)
        self.database = Database(database.url, hasty)
        self.threads = CapacityLimiter(2)

    def check(self) -> None:
        """Raise what is wrong with the database, if anything is."""
        migrate.require_head(self.database)


@router.get("/health/live", responses={200: {"content": {"application/json": {"example": {"status": "ok"}}}}})
async def live() -> Response:
    """Say that the server runs; this asks nobody, and needs no token."""
    return json_response({"status": "ok"})


@router.get(
    "/health/ready", responses={200: {"content": {"application/json": {"example": {"status": "ok"}}}}}
)
async def ready(request: Request, caller: Reading) -> Response:
    """Say whether the database answers and has the tables of this version; if not, the answer is 503."""
    readiness: Readiness = request.app.state.readiness
    caller.database = readiness.database

    def check() -> None:
        caller.admit()
        readiness.check()

    await run_sync(check, limiter=readiness.threads)
    return json_response({"status": "ok"})


@router.get("/metrics", responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})
def measure(request: Request, caller: Reading) -> Response:
    """Show counts and times of requests for Prometheus; a token of one user may not see them."""
    caller.admit().require_everybody()
    return Response(request.app.state.metrics.text(), media_type=metrics.MEDIA_TYPE)
