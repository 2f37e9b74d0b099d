"""Whether the database could be got back: from which backup, and whether anyone has tried."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from taskdb_cli.backup.archive import reseal, seal_of
from taskdb_cli.backup.atomic import final_name, is_abandoned
from taskdb_cli.backup.history import Proof
from taskdb_cli.database.health import NotMeasured
from taskdb_cli.errors import TaskdbError
from taskdb_cli.health.report import WORST_FIRST, Check, Status, Unit
from taskdb_cli.health.subject import Look, shortened

FEWEST_ROWS = 1000
"""A smaller database may well double in a day."""

REREAD_AT_MOST = 100_000_000
"""Archives up to this size in bytes are read again by every run of health; larger ones take too long."""

REREAD_SHARE = 4
"""The share of the remaining time that reading an archive may take."""

_TAKE = "taskdb backup"
_VERIFY = "taskdb backup verify latest"


def backup(look: Look) -> Check:
    """Judge the age of what the last verified archive holds; to have none is a warning.

    A directory that cannot be used is critical. An archive of a time to come is a warning, and has no age.
    """
    if look.backups.fault:
        return look.found(Status.CRITICAL, look.backups.fault, remedy=f"mount or create it, then {_TAKE}")
    if blocked := _impossible_locks(look):
        message = f"no backup can be taken: {shortened(blocked)} is not a regular file"
        return look.found(Status.CRITICAL, message, remedy="remove it")
    if look.backups.record_fault:
        return look.found(
            Status.UNKNOWN, look.backups.record_fault, remedy=f"remove the record, then {_VERIFY}"
        )
    found = _age(look)
    if not (future := _future(look)):
        return found
    return look.found(
        next(each for each in WORST_FIRST if each in (found.status, Status.WARNING)),
        f"{shortened(future)} has a date in the future, so a clock is or was wrong; {found.message}",
        value=found.value,
        unit=found.unit,
        remedy=found.remedy or "set the clock, then delete or rename the archive with the wrong date",
    )


def _age(look: Look) -> Check:
    record = look.backups.record
    if record.verified is None:
        if number := len(look.backups.holdings.own):
            message = f"no record says that any of {number} archives was ever verified"
            return look.found(Status.WARNING, message, remedy=_VERIFY)
        message = "; ".join(["no backup has been taken and verified yet", *look.backups.not_counted()])
        return look.found(Status.WARNING, message, remedy=_TAKE)
    proof = _verified(look)
    if _is_future(look, proof):
        message = f"the age of the last verified backup, {proof.archive}, is not known"
        return look.found(Status.UNKNOWN, message, remedy=_TAKE)
    message = f"{proof.archive} was verified at {proof.verified_at:%Y-%m-%d %H:%M} UTC"
    age = (look.subject.now - proof.taken_at).total_seconds()
    return look.judged(age, message, remedy=_TAKE, unit=Unit.SECONDS)


def backup_archive(look: Look) -> Check:
    """Demand that the last verified archive is as it was verified; read all of it again if it is small."""
    proof = _verified(look)
    path = look.backups.directory.path / proof.archive
    try:
        problem, read = _problem(path, proof, look.subject.seconds / REREAD_SHARE)
    except TaskdbError as exc:
        problem, read = exc.message, False
    if problem:
        return look.found(Status.CRITICAL, problem, remedy=f"find out why, then {_TAKE}")
    since = f"{proof.verified_at:%Y-%m-%d %H:%M} UTC"
    how = "every byte matches its seal" if read else f"with its size and seal; not re-read since {since}"
    return look.found(Status.OK, f"{path} is there, {how}", value=proof.size, unit=Unit.BYTES)


def drill(look: Look) -> Check:
    """Judge how long ago an archive was last restored for trial; that none ever was is a warning."""
    _verified(look)
    drilled, remedy = look.backups.record.drilled, f"{_VERIFY} --drill"
    if drilled is None:
        return look.found(Status.WARNING, "no archive was ever restored for trial", remedy=remedy)
    age = (look.subject.now - drilled.at).total_seconds()
    if age < 0:
        message = f"the last drill, of {drilled.archive}, has a date in the future: a clock is or was wrong"
        return look.found(Status.UNKNOWN, message, remedy=remedy)
    message = f"{drilled.archive} was restored for trial at {drilled.at:%Y-%m-%d %H:%M} UTC"
    return look.judged(age, message, remedy=remedy, unit=Unit.SECONDS)


def shrinkage(look: Look) -> Check:
    """Judge how much smaller the last verified archive is than the one before it, in per cent."""
    proof = _verified(look)
    older = [each for each in look.backups.record.proofs if each.taken_at < proof.taken_at]
    if not older:
        raise NotMeasured("there is no verified backup before the last one")
    previous = older[-1]
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
    _require_directory(look)
    directory = look.backups.directory.path
    disk = os.statvfs(next(place for place in (directory, *directory.parents) if place.exists()))
    free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    message = f"{free / 1e6:,.0f} of {total / 1e6:,.0f} MB are free under {directory}"
    remedy = "make room, or keep fewer archives: taskdb backup prune"
    proof, percent = look.backups.record.verified, 100 * free / total if total else 0.0
    problem = ""
    if disk.f_flag & os.ST_RDONLY:
        problem, remedy = "the disk is read-only", "make it writable"
    elif proof is not None and free < proof.size:
        problem = "not enough for one more archive"
    elif disk.f_files and not disk.f_favail:
        problem = "the disk has no room for more files (no inodes)"
    if problem:
        found = f"{message}: {problem}"
        return look.found(Status.CRITICAL, found, value=percent, unit=Unit.PERCENT, remedy=remedy)
    return look.judged(percent, message, remedy=remedy, unit=Unit.PERCENT)


def backup_strays(look: Look) -> Check:
    """Look for what dead runs left behind, and for what only looks like an archive."""
    _require_directory(look)
    return look.none_of(
        [_stray(path) for path in look.backups.directory.strays()],
        "nothing lies among the archives that is none",
        "these are no archives",
        remedy="delete or rename them, once no backup runs; the next backup removes its own leftovers",
        status=Status.WARNING,
    )


def _require_directory(look: Look) -> None:
    if look.backups.fault:
        raise NotMeasured(look.backups.fault)


def _verified(look: Look) -> Proof:
    """Return the proof of the newest archive that is not dated in the future, if there is one."""
    record = look.backups.record
    if record.verified is None:
        raise NotMeasured("there is no verified backup yet", _TAKE)
    newest_first = reversed(record.proofs)
    return next((proof for proof in newest_first if not _is_future(look, proof)), record.verified)


def _is_future(look: Look, proof: Proof) -> bool:
    return max(proof.taken_at, proof.verified_at) > look.subject.now


def _future(look: Look) -> list[str]:
    """Return the archives whose name or manifest has a date in the future."""
    record, found = look.backups.record, look.backups.holdings
    entries = [*found.own, *found.unreadable]
    named = {entry.path.name for entry in entries if entry.taken_at > look.subject.now}
    return sorted(named | {proof.archive for proof in record.proofs if _is_future(look, proof)})


def _impossible_locks(look: Look) -> list[str]:
    files = look.backups.directory.lock_files(look.backups.label)
    return [str(path) for path in files if os.path.lexists(path) and not path.is_file()]


def _problem(path: Path, proof: Proof, seconds: float) -> tuple[str, bool]:
    """Return what is wrong with an archive, or nothing; and whether all of it was read."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return f"{path} is gone", False
    if not stat.S_ISREG(found.st_mode):
        return f"{path} is not a regular file", False
    if found.st_size != proof.size:
        return f"{path} has {found.st_size:,} bytes, and had {proof.size:,} when it was verified", False
    if seal_of(path) != proof.seal:
        return f"{path} has another seal than when it was verified", False
    seal = reseal(path, seconds=seconds) if proof.size <= REREAD_AT_MOST else None
    if seal not in (None, proof.seal):
        return f"{path} is damaged: its bytes do not match its seal", True
    return "", seal is not None


def _stray(path: Path) -> str:
    untold = final_name(path.name) and is_abandoned(path) is None
    return f"{path} (it is not known whether a run still writes it)" if untold else str(path)


def _lost(now: int, before: int) -> float:
    return max(0.0, 100 * (before - now) / before) if before else 0.0
