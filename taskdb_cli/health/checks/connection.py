"""Whether the database answers, how fast, and what it is."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

from taskdb_cli.errors import DataCorrupt
from taskdb_cli.health.report import Check, Status, Unit
from taskdb_cli.health.subject import Look, NoAnswer

LAST_RELEASES = {
    13: date(2025, 11, 13),
    14: date(2026, 11, 12),
    15: date(2027, 11, 11),
    16: date(2028, 11, 9),
    17: date(2029, 11, 8),
    18: date(2030, 11, 14),
}
"""The day of the final release of each major version of PostgreSQL, as of November 2026.

They stand at https://www.postgresql.org/support/versioning/; a major version is supported for five years.
"""


def connection(look: Look) -> Check:
    """Judge how long connecting takes; a first connection that alone was slow met a sleeping server."""
    try:
        visit = look.subject.visit
    except (NoAnswer, DataCorrupt):
        failure = look.subject.failure
        assert failure is not None
        return look.found(Status.CRITICAL, failure.message, remedy=failure.hint)
    seconds = visit.seconds
    if look.limits.judge(seconds) is not Status.OK:
        again = visit.connect_again()
        if look.limits.judge(again) is Status.OK:
            message = f"a cold start: the first connection took {_ms(seconds)}, a second one {_ms(again)}"
            return look.judged(again, message, unit=Unit.SECONDS)
    message = f"{look.subject.database.backend.place} answered in {_ms(seconds)}"
    remedy = "look at the network and at the server's load"
    return look.judged(seconds, message, remedy=remedy, unit=Unit.SECONDS)


def version(look: Look) -> Check:
    """Judge how long the version of the server will be looked after."""
    found = look.probe.version()
    if found.major is None:
        return look.found(Status.OK, found.name)
    if found.major > max(LAST_RELEASES):
        message = f"{found.name} is newer than this taskdb, which does not know its end of life"
        return look.found(Status.UNKNOWN, message, remedy="upgrade taskdb")
    # Those that are not in the table ended before its first.
    end = LAST_RELEASES.get(found.major, min(LAST_RELEASES.values()))
    left = datetime.combine(end, time.min, UTC) - look.subject.now
    words = "will be supported until" if left.days >= 0 else "has not been supported since"
    return look.judged(
        left.total_seconds(),
        f"{found.name} {words} {end:%Y-%m-%d}",
        remedy="upgrade the server to a newer major version",
        unit=Unit.SECONDS,
    )


def tls(look: Look) -> Check:
    """Demand that a connection to another machine is encrypted."""
    found = look.probe.encryption()
    if found.used:
        return look.found(Status.OK, "the connection is encrypted", value=1)
    if found.local:
        return look.found(Status.OK, "the connection is not encrypted, and stays on this machine", value=0)
    message = "the connection to another machine is not encrypted"
    return look.found(
        Status.WARNING, message, value=0, remedy="write sslmode=require or verify-full into the URL"
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
