"""Routes for monitoring: whether the server lives, whether it is ready, and its metrics."""

from datetime import UTC, datetime
from functools import partial

from anyio import CapacityLimiter, fail_after
from anyio.to_thread import run_sync
from fastapi import Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from sqlalchemy import QueuePool

from taskdb_cli import __version__
from taskdb_cli.api.auth import Authorized, hasty_database
from taskdb_cli.api.replica import Replica
from taskdb_cli.api.routing import described_router, json_response
from taskdb_cli.api.schemas import LIVE, READY
from taskdb_cli.database import Database
from taskdb_cli.errors import DatabaseUnavailable
from taskdb_cli.health import runner
from taskdb_cli.health.report import Report, Status
from taskdb_cli.services import migrate

router = described_router("operations")

READY_SECONDS = 5
"""Seconds that the server may take to find out whether it is ready."""

READY_CHECKS = ("connection", "revision", "connections")
"""The checks of `taskdb health` that say whether requests can be served."""

_ALIVE = {"status": "ok"}
_READY = {"status": "ok", "checks": [{"name": each, "status": "ok"} for each in READY_CHECKS]}


def _example(value: object) -> dict[int | str, dict[str, object]]:
    return {200: {"content": {"application/json": {"example": value}}}}


class Metrics:
    """Counts and times of requests by the template of their route, and the use of the pool."""

    def __init__(self, database: Database, replica: Replica | None = None) -> None:
        self.registry = registry = CollectorRegistry()
        help, labels = "Requests that were answered.", ["method", "route", "status"]
        self._requests = Counter("taskdb_http_requests", help, labels, registry=registry)
        name, help = "taskdb_http_request_duration_seconds", "Time from a request to its answer."
        bounds = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
        self._seconds = Histogram(name, help, labels[:2], buckets=bounds, registry=registry)
        help = "Connections to the database that requests hold."
        used = Gauge("taskdb_pool_connections_in_use", help, registry=registry)
        used.set_function(partial(_in_use, database))
        if replica is not None:
            help = "Connections to the replica that requests hold."
            used = Gauge("taskdb_replica_connections_in_use", help, registry=registry)
            used.set_function(partial(_in_use, replica.database))
            for each in replica.metrics:
                registry.register(each)
        Info("taskdb_build", "The version of taskdb.", registry=registry).info({"version": __version__})

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


def _in_use(database: Database) -> int:
    # A pool that is emptied is replaced by another one.
    pool = database.engine.pool
    return pool.checkedout() if isinstance(pool, QueuePool) else 0


class Readiness:
    """Find out whether the database answers, without the threads and the pool that may be busy or stuck."""

    def __init__(self, database: Database) -> None:
        self.database = hasty_database(database)
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


@router.get(LIVE, responses=_example(_ALIVE))
async def live() -> Response:
    """Say that the server runs. It asks nothing of the database and needs no token."""
    return json_response(_ALIVE)


@router.get(READY, responses=_example(_READY))
async def ready(request: Request, caller: Authorized) -> Response:
    """Say whether the database answers and has the tables of this version; if not, the answer is 503."""
    readiness: Readiness = request.app.state.readiness
    caller.database = readiness.database

    def check() -> Report:
        caller.admit()
        return readiness.check()

    try:
        with fail_after(READY_SECONDS):
            # A thread that waits for a silent server ends by itself at some time.
            report = await run_sync(check, limiter=readiness.threads, abandon_on_cancel=True)
    except TimeoutError as exc:
        raise DatabaseUnavailable(f"not known to be ready within {READY_SECONDS} s") from exc
    # The messages of the checks name the server, and the bearer of a token must not see that.
    checks = [{"name": each.name, "status": each.status} for each in report.checks]
    return json_response({"status": report.status, "checks": checks})


@router.get("/metrics", responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})
def measure(request: Request, caller: Authorized) -> Response:
    """Show counts and times of requests for Prometheus; a token of one user may not see them."""
    caller.admit().require_everybody()
    metrics: Metrics = request.app.state.metrics
    return Response(generate_latest(metrics.registry), media_type="text/plain; version=0.0.4; charset=utf-8")
