"""Whether the database could be got back: from which backup, and whether anyone has tried."""

from __future__ import annotations

import shutil
from pathlib import Path

from taskdb_cli.archive import seal_of
from taskdb_cli.database.health import NotMeasured
from taskdb_cli.errors import ArchiveCorrupt
from taskdb_cli.services.backup.records import Proof
from taskdb_cli.services.health.result import Check, Status, Unit
from taskdb_cli.services.health.subject import Look, NoAnswer

FEWEST_ROWS = 1000
"""A smaller database may well double in a day."""

_TAKE = "taskdb backup"


def backup(look: Look) -> Check:
    """Judge the age of what the last verified archive holds; to have none is a warning."""
    proof = look.backups.record.verified
    if proof is None:
        return look.found(Status.WARNING, "no backup has been taken and verified yet", remedy=_TAKE)
    age = (look.subject.now - proof.taken_at).total_seconds()
    if age < 0:
        raise NoAnswer(f"{proof.archive} is of a time to come: a clock is wrong")
    message = f"{proof.archive} was verified at {proof.verified_at:%Y-%m-%d %H:%M} UTC"
    return look.judged(age, message, remedy=_TAKE, unit=Unit.SECONDS)


def backup_archive(look: Look) -> Check:
    """Demand that the last verified archive is still there, with the seal and the size that were verified."""
    proof = _verified(look)
    path = look.backups.directory.path / proof.archive
    problem = _problem(path, proof)
    if problem:
        return look.found(Status.CRITICAL, f"{path} {problem}", remedy=f"find out why, then {_TAKE}")
    return look.found(Status.OK, f"{path} is there, with its seal", value=proof.size, unit=Unit.BYTES)


def drill(look: Look) -> Check:
    """Judge how long ago an archive was last restored for trial; that none ever was is a warning."""
    _verified(look)
    drilled, remedy = look.backups.record.drilled, "taskdb backup verify latest --drill"
    if drilled is None:
        return look.found(Status.WARNING, "no archive was ever restored for trial", remedy=remedy)
    age = (look.subject.now - drilled.at).total_seconds()
    if age < 0:
        raise NoAnswer(f"{drilled.archive} was drilled in a time to come: a clock is wrong")
    message = f"{drilled.archive} was restored for trial at {drilled.at:%Y-%m-%d %H:%M} UTC"
    return look.judged(age, message, remedy=remedy, unit=Unit.SECONDS)


def shrinkage(look: Look) -> Check:
    """Judge how much smaller the last verified archive is than the one before it, in per cent."""
    proof, previous = _verified(look), look.backups.record.previous
    if previous is None:
        raise NotMeasured("there is no verified backup before the last one")
    rows, before = sum(proof.rows.values()), sum(previous.rows.values())
    lost = max(_lost(rows, before), _lost(proof.bytes, previous.bytes))
    message = f"{rows:,} rows now, {before:,} before; {proof.bytes:,} bytes now, {previous.bytes:,} before"
    remedy = f"find out who deleted them; keep {previous.archive}"
    return look.judged(lost, message, remedy=remedy, unit=Unit.PERCENT)


def growth(look: Look) -> Check:
    """Judge how much the rows have grown since the last verified backup, or shrunk, in per cent."""
    proof = _verified(look)
    before = sum(proof.rows.values())
    rows = sum(look.probe.rows(table) for table in proof.rows)
    change = 100 * (rows - before) / before if before else 0.0
    message = f"{rows:,} rows, and {before:,} in {proof.archive}"
    if change < 0:
        status = look.thresholds.shrinkage.judge(-change)
    else:
        status = look.limits.judge(change) if rows >= FEWEST_ROWS else Status.OK
    remedy = f"find out who changed so much; {proof.archive} has what was there before"
    return look.found(status, message, value=change, unit=Unit.PERCENT, remedy=remedy)


def backup_space(look: Look) -> Check:
    """Judge how much of the disk under the archives is free, in per cent, and whether one more fits."""
    directory = look.backups.directory.path
    usage = shutil.disk_usage(next(place for place in (directory, *directory.parents) if place.exists()))
    free = 100 * usage.free / usage.total
    message = f"{usage.free / 1e6:,.0f} of {usage.total / 1e6:,.0f} MB are free under {directory}"
    remedy = "make room, or keep fewer archives: taskdb backup prune"
    proof = look.backups.record.verified
    if proof is not None and usage.free < proof.size:
        status = Status.CRITICAL
        return look.found(
            status, f"{message}: too little for one more", value=free, unit=Unit.PERCENT, remedy=remedy
        )
    return look.judged(free, message, remedy=remedy, unit=Unit.PERCENT)


def backup_strays(look: Look) -> Check:
    """Look for what dead runs left behind, and for what only looks like an archive."""
    return look.none_of(
        [str(path) for path in look.backups.directory.strays()],
        "nothing lies among the archives that is none",
        "these are no archives",
        remedy="delete or rename them, once no backup runs; the next backup removes its own leftovers",
        status=Status.WARNING,
    )


def _verified(look: Look) -> Proof:
    proof = look.backups.record.verified
    if proof is None:
        raise NotMeasured("there is no verified backup yet", _TAKE)
    return proof


def _problem(path: Path, proof: Proof) -> str:
    if not path.is_file():
        return "is gone"
    if path.stat().st_size != proof.size:
        return f"has {path.stat().st_size:,} bytes, and had {proof.size:,} when it was verified"
    try:
        return "" if seal_of(path) == proof.seal else "has another seal than when it was verified"
    except ArchiveCorrupt:
        return "has no seal any more"


def _lost(now: int, before: int) -> float:
    return max(0.0, 100 * (before - now) / before) if before else 0.0
