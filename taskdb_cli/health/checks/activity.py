"""Who else is connected, and who is in whose way."""

from __future__ import annotations

from taskdb_cli.database.health import NotMeasured, Sessions
from taskdb_cli.health.report import Check, Status, Unit
from taskdb_cli.health.subject import Look

_SEE_ALL = "GRANT pg_read_all_stats TO the role of the database URL"


def connections(look: Look) -> Check:
    """Judge how much of the server's room for connections is taken, in per cent."""
    found = look.probe.slots()
    message = f"{found.used} of {found.most} connections are in use"
    remedy = "use a pooler, close what idles, or raise max_connections"
    return look.judged(100 * found.used / found.most, message, remedy=remedy, unit=Unit.PERCENT)


def long_transactions(look: Look) -> Check:
    """Judge the age of the longest transaction that works; vacuum can remove nothing newer."""
    return _judge_sessions(look, look.probe.transactions(idle=False), "in a transaction")


def idle_in_transaction(look: Look) -> Check:
    """Judge for how long a session has been leaving its transaction open without working."""
    return _judge_sessions(look, look.probe.transactions(idle=True), "idle in a transaction")


def blocked(look: Look) -> Check:
    """Judge for how long a session has been waiting for another one's lock."""
    found = look.probe.blocked()
    if not found.pids:
        return look.judged(0, "no session waits for a lock", unit=Unit.SECONDS)
    message = f"{len(found.pids)} sessions wait for a lock, one for {found.longest:.0f} s"
    # Nobody, if the lock was let go of just now.
    holder = next((pid for pid in found.holders if pid), None)
    remedy = look.probe.how_to_end(holder) if holder else ""
    return look.judged(found.longest, message, remedy=remedy, unit=Unit.SECONDS)


def _judge_sessions(look: Look, found: Sessions, state: str) -> Check:
    message = f"no session is {state}"
    if found.pids:
        message = f"{len(found.pids)} sessions are {state}, process {found.pids[0]} for {found.longest:.0f} s"
    if found.hidden and look.limits.judge(found.longest) is Status.OK:
        raise NotMeasured(f"the role may not look at {found.hidden} sessions of others", _SEE_ALL)
    if found.untracked and look.limits.judge(found.longest) is Status.OK:
        raise NotMeasured(
            f"track_activities is off in {found.untracked} sessions: nobody knows what they do",
            "turn track_activities on",
        )
    remedy = look.probe.how_to_end(found.pids[0]) if found.pids else ""
    return look.judged(found.longest, message, remedy=remedy, unit=Unit.SECONDS)
