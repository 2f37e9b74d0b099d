"""What those who run the server ask of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from anyio import CapacityLimiter, fail_after
from anyio.to_thread import run_sync
from fastapi import Request, Response

from taskdb_cli.api import metrics
from taskdb_cli.api.auth import Authorized
from taskdb_cli.api.description import described_router
from taskdb_cli.api.schemas import json_response
from taskdb_cli.database import Database
from taskdb_cli.errors import DatabaseUnavailable
from taskdb_cli.health import runner
from taskdb_cli.health.report import Report, Status
from taskdb_cli.services import migrate

router = described_router("operations")

READY_SECONDS = 5
"""How long it may take to find out whether the server is ready."""

READY_CHECKS = ("connection", "revision", "connections")
"""The checks of `taskdb health` that say so; the others are about tomorrow, or read whole tables."""

EXAMPLE = {
    "status": "ok",
    "checks": [{"name": each, "status": "ok"} for each in READY_CHECKS],
}


class Readiness:
    """Looks whether the database answers, apart from the threads and the pool that may be busy or stuck."""

    def __init__(self, database: Database) -> None:
        limit = min(READY_SECONDS, database.options.connect_timeout)
        hasty = replace(
            database.options,
            pool=None,
            retry_budget=0,
            connect_timeout=limit,
            statement_timeout=READY_SECONDS,
        )
        self.database = Database(database.url, hasty)
        self.threads = CapacityLimiter(2)

    def check(self) -> Report:
        """Return what the checks found; raise what is wrong if no request could be served."""
        migrate.require_head(self.database)
        now = datetime.now(UTC)
        report = runner.run(self.database, now=now, only=READY_CHECKS, timeout=READY_SECONDS)
        for check in report.checks:
            if check.status in (Status.CRITICAL, Status.UNKNOWN):
                raise DatabaseUnavailable(f"{check.name}: {check.message}", check.remedy)
        return report


@router.get("/health/live", responses={200: {"content": {"application/json": {"example": {"status": "ok"}}}}})
async def live() -> Response:
    """Say that the server runs; this asks nobody, and needs no token."""
    return json_response({"status": "ok"})


@router.get("/health/ready", responses={200: {"content": {"application/json": {"example": EXAMPLE}}}})
async def ready(request: Request, caller: Authorized) -> Response:
    """Say whether the database answers and has the tables of this version; if not, the answer is 503."""
    readiness: Readiness = request.app.state.readiness
    caller.database = readiness.database

    def check() -> Report:
        caller.admit()
        return readiness.check()

    try:
        with fail_after(READY_SECONDS):
            # A thread that waits for a server which says nothing ends by itself some time.
            report = await run_sync(check, limiter=readiness.threads, abandon_on_cancel=True)
    except TimeoutError as exc:
        raise DatabaseUnavailable(f"not known to be ready within {READY_SECONDS} s") from exc
    # Their messages name the server, which is no business of a token's bearer.
    checks = [{"name": each.name, "status": each.status} for each in report.checks]
    return json_response({"status": report.status, "checks": checks})


@router.get("/metrics", responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})
def measure(request: Request, caller: Authorized) -> Response:
    """Show counts and times of requests for Prometheus; a token of one user may not see them."""
    caller.admit().require_everybody()
    return Response(request.app.state.metrics.text(), media_type=metrics.MEDIA_TYPE)
