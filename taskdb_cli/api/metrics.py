"""What Prometheus is told."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from sqlalchemy import QueuePool

from taskdb_cli import __version__
from taskdb_cli.database import Database

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counts and times of requests by the template of their route, and the use of the pool."""

    def __init__(self, database: Database) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "taskdb_http_requests",
            "Requests that were answered.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "taskdb_http_request_duration_seconds",
            "Time from a request to its answer.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        used = Gauge(
            "taskdb_pool_connections_in_use",
            "Connections to the database that requests hold.",
            registry=self._registry,
        )
        used.set_function(lambda: _in_use(database))
        version = Gauge("taskdb_build_info", "The version of taskdb.", ["version"], registry=self._registry)
        version.labels(__version__).set(1)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)


def _in_use(database: Database) -> int:
    pool = database.engine.pool
    return pool.checkedout() if isinstance(pool, QueuePool) else 0
