"""Whether the database could be got back: from which backup, and whether anyone has tried."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps

from taskdb_cli.backup.history import Proof
from taskdb_cli.backup.proving import compare
from taskdb_cli.backup.stores.calls import Call
from taskdb_cli.errors import (
    ArchiveEncrypted,
    FileMissing,
    StoreUnavailable,
    TaskdbError,
)
from taskdb_cli.health.archives import Backups
from taskdb_cli.health.examination import Examination, failed
from taskdb_cli.health.report import Result, Status, Unit, Unmeasured, none_of, shortened
from taskdb_cli.text.amounts import in_one_size, in_words

REREAD_AT_MOST = 100_000_000
"""Archives up to this size in bytes are read again by every run of health; larger ones take too long."""

REREAD_SHARE = 4
"""The share of the remaining time that reading an archive may take."""

WAITING_SHARE = 4
"""The share of the remaining time that a place may take to answer."""

_TAKE = "taskdb backup"
_VERIFY = "taskdb backup verify latest"
_FIND_OUT = f"find out why, then {_TAKE}"


Judge = Callable[[Examination, Backups], Result]


def _in_each_place(judge: Judge) -> Callable[[Examination], Result]:
    """Return a check that judges each place with this function, and returns the worst result."""

    @wraps(judge)
    def check(exam: Examination) -> Result:
        if not exam.backups:
            raise Unmeasured("no backup directory is known", "set TASKDB_BACKUP_DIR")
        if len(exam.backups) == 1:
            return judge(exam, _counted(exam, exam.backups[0]))
        found = list[tuple[Backups, Result]]()
        for backups in exam.backups:
            try:
                result = judge(exam, _counted(exam, backups))
            except Unmeasured as exc:
                result = exc.result
            except TaskdbError as exc:
                result = failed(exc)
            found.append((backups, result))
        return _worst(found, falling=exam.check.limits.falling)

    return check


def _worst(found: Sequence[tuple[Backups, Result]], *, falling: bool) -> Result:
    """Return the worst of the results. Its message names the places that are not well, or else all."""

    def badness(result: Result) -> tuple[int, float]:
        value = result.value or 0
        return list(Status).index(result.status), value if falling else -value

    worst = min((result for _, result in found), key=badness)
    told = [each for each in found if not each[1].is_fine] or [
        each for each in found if each[1].status is worst.status
    ]
    messages = [_named(backups, result.message) for backups, result in told]
    remedies = dict.fromkeys(result.remedy for _, result in told if result.remedy)
    return replace(worst, message="; ".join(messages), remedy="; ".join(remedies))


def _named(backups: Backups, message: str) -> str:
    place = str(backups.directory)
    return message if place in message else f"{place}: {message}"


def _counted(exam: Examination, backups: Backups) -> Backups:
    """Return the archives that count for the database; before its identity is known, the label decides.

    A place that does not answer is waited for once, and takes only a share of the time. Raises InvalidInput
    if the archives may be several databases'.
    """
    if backups not in exam.counted:
        seconds = max(0.0, exam.seconds / WAITING_SHARE)
        found = Call(backups.looked_at).result_within(seconds)
        if found is None:
            fault = StoreUnavailable(f"{backups.directory} did not answer within {seconds:.1f} s")
            found = replace(backups, fault=fault)
        exam.counted[backups] = found
    return exam.counted[backups]


def _require_readable(backups: Backups) -> None:
    if fault := backups.fault:
        unreachable = isinstance(fault, StoreUnavailable)
        raise Unmeasured(fault.message, fault.hint, status=Status.UNKNOWN if unreachable else Status.SKIPPED)


@_in_each_place
def check_backup(exam: Examination, backups: Backups) -> Result:
    """Judge the age of what the last verified archive holds; to have none is a warning.

    A directory that cannot be used is critical, and a bucket that cannot be reached is unknown. An archive
    with a date in the future is a warning, and has no age.
    """
    if isinstance(backups.fault, StoreUnavailable):
        raise backups.fault
    if backups.fault:
        remedy = ", then ".join(filter(None, [backups.fault.hint, _TAKE]))
        return Result(Status.CRITICAL, backups.fault.message, remedy=remedy)
    if blocked := backups.directory.blocked(backups.owner.label):
        message = f"no backup can be taken: {shortened(blocked)} is not a regular file"
        return Result(Status.CRITICAL, message, remedy="remove it")
    if backups.record_fault:
        return Result(Status.UNKNOWN, backups.record_fault, remedy=f"remove the record, then {_VERIFY}")
    found = _age(exam, backups)
    entries = [*backups.holdings.own, *backups.holdings.unreadable]
    future = {entry.name for entry in entries if entry.taken_at > exam.now}
    future |= {proof.archive for proof in backups.record.proofs if _is_future(exam, proof)}
    if not future:
        return found
    status = min(found.status, Status.WARNING, key=list(Status).index)
    message = f"{shortened(sorted(future))} has a date in the future, so a clock is or was wrong"
    remedy = found.remedy or "set the clock, then delete or rename the archive with the wrong date"
    return replace(found, status=status, message=f"{message}; {found.message}", remedy=remedy)


def _age(exam: Examination, backups: Backups) -> Result:
    if backups.record.verified is None:
        if number := len(backups.holdings.own):
            message = f"no record says that one of {in_words({'archives': number})} was verified"
            return Result(Status.WARNING, message, remedy=_VERIFY)
        reasons = ["no backup has been taken and verified yet"]
        reasons += backups.holdings.count_others()
        encrypted = [
            each for each in backups.holdings.unreadable.values() if isinstance(each, ArchiveEncrypted)
        ]
        if encrypted:
            reasons.append(f"no record says what is in {in_words({'encrypted archives': len(encrypted)})}")
        if labels := backups.holdings.other_labels():
            reasons.append(f"this database has archives under the label {', '.join(labels)}")
        return Result(Status.WARNING, "; ".join(reasons), remedy=_TAKE)
    proof = _verified(exam, backups)
    if _is_future(exam, proof):
        message = f"the age of the last verified backup, {proof.archive}, is not known"
        return Result(Status.UNKNOWN, message, remedy=_TAKE)
    message = f"{proof.archive} was verified at {proof.verified_at:%Y-%m-%d %H:%M} UTC"
    age = (exam.now - proof.taken_at).total_seconds()
    return exam.judged(age, message, _TAKE)


@_in_each_place
def check_backup_archive(exam: Examination, backups: Backups) -> Result:
    """Demand that the last verified archive is as it was verified; read all of it again if it is small.

    In a bucket, where reading costs money, its tag is compared. It differs whenever the bytes do.
    This needs no key of an encrypted one. Damage of older archives that was recorded before is a warning.
    """
    proof, problem = _verified(exam, backups), ""
    file = backups.directory.file(proof.archive)
    try:
        # A link to an archive is refused here.
        small = file.store.size(file.name) <= REREAD_AT_MOST
        tagged = file.store.directory is None and proof.tag
        tags = {each.name: each.tag for each in backups.directory.entries()} if tagged else {}
        if tagged and tags.get(file.name) != proof.tag:
            problem = "is not the object that was verified"
        again = small and not tagged
        whole = compare(file, proof, seconds=exam.seconds / REREAD_SHARE if again else -1)
        if not (problem or whole) and backups.record.of(file.name).damaged:
            problem = "was damaged when it was last read"
    except FileMissing:
        problem = "is gone"
    except StoreUnavailable:
        raise
    except TaskdbError as exc:
        return Result(Status.CRITICAL, exc.message, remedy=_FIND_OUT)
    if problem:
        return Result(Status.CRITICAL, f"{file} {problem}", remedy=_FIND_OUT)
    older = [entry.name for entry in backups.holdings.own if entry.name != file.name]
    if damaged := [name for name in older if backups.record.of(name).damaged]:
        message = f"damaged when they were last read: {shortened(damaged)}"
        remedy = "replace or delete them, then taskdb backup verify what you replaced"
        return Result(Status.WARNING, message, remedy=remedy)
    since = f"{proof.verified_at:%Y-%m-%d %H:%M} UTC"
    unread = f"with its size{'' if proof.digest else ' and seal'}; not re-read since {since}"
    how = f"every byte matches its {'digest' if proof.digest else 'seal'}" if whole else unread
    return Result(Status.OK, f"{file} is there, {how}", proof.size, Unit.BYTES)


@_in_each_place
def check_drill(exam: Examination, backups: Backups) -> Result:
    """Judge how long ago an archive was last restored as a test; it is a warning if none ever was."""
    proof = _verified(exam, backups)
    drilled, remedy = backups.record.drilled, f"{_VERIFY} --drill{' --identity FILE' if proof.digest else ''}"
    if drilled is None:
        return Result(Status.WARNING, "no archive was ever restored as a test", remedy=remedy)
    age = (exam.now - drilled.at).total_seconds()
    if age < 0:
        message = (
            f"the last test restore, of {drilled.archive}, has a date in the future: a clock is or was wrong"
        )
        return Result(Status.UNKNOWN, message, remedy=remedy)
    message = f"{drilled.archive} was restored as a test at {drilled.at:%Y-%m-%d %H:%M} UTC"
    return exam.judged(age, message, remedy)


@_in_each_place
def check_shrinkage(exam: Examination, backups: Backups) -> Result:
    """Judge how much smaller the last verified archive is than the one before it, in per cent."""
    proof = _verified(exam, backups)
    older = [each for each in backups.record.proofs if each.taken_at < proof.taken_at]
    if not older:
        raise Unmeasured("there is no verified backup before the last one")
    previous = older[-1]
    rows, before = sum(proof.rows.values()), sum(previous.rows.values())
    pairs = ((rows, before), (proof.bytes, previous.bytes))
    lost = max(100 * (old - new) / old if old > new else 0.0 for new, old in pairs)
    sizes = f"{in_one_size(proof.bytes)} now, {in_one_size(previous.bytes)} before"
    message = f"{in_words({'rows': rows})} now, {before:,} before; {sizes}"
    return exam.judged(lost, message, f"find out who deleted them; keep {previous.archive}")


@_in_each_place
def check_backup_space(exam: Examination, backups: Backups) -> Result:
    """Judge how much of the disk under the archives is free, in per cent, and whether one more fits."""
    _require_readable(backups)
    directory = backups.directory.store.directory
    if directory is None:
        raise Unmeasured(f"{backups.directory} is a bucket: its free space cannot be measured")
    disk = os.statvfs(next(place for place in (directory, *directory.parents) if place.exists()))
    free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    percent = 100 * free / total if total else 0.0
    message = f"{in_one_size(free)} of {in_one_size(total)} are free under {directory}"
    remedy = "make room, or keep fewer archives: taskdb backup prune"
    problem, proof = "", backups.record.verified
    if disk.f_flag & os.ST_RDONLY:
        problem, remedy = "the disk is read-only", "make it writable"
    elif proof is not None and free < proof.size:
        problem = "not enough for one more archive"
    elif disk.f_files and not disk.f_favail:
        problem = "the disk has no room for more files (no inodes)"
    if problem:
        return Result(Status.CRITICAL, f"{message}: {problem}", percent, Unit.PERCENT, remedy)
    return exam.judged(percent, message, remedy)


@_in_each_place
def check_backup_strays(exam: Examination, backups: Backups) -> Result:
    """Look for files of dead runs, and for files that only look like an archive."""
    _require_readable(backups)
    strays = backups.directory.strays(exam.now)
    remedy = "delete or rename them, once no backup runs; the next backup removes its own leftovers"
    if backups.directory.store.directory is None:
        remedy = "delete or rename objects, once no backup runs; the next backup aborts uploads of its label"
    fine, bad = "no stray files in the backup directory", "these files are not archives"
    return none_of(dict.fromkeys(strays, remedy), fine, bad, status=Status.WARNING)


def _verified(exam: Examination, backups: Backups) -> Proof:
    """Return the proof of the newest archive, without a date in the future if there is one."""
    _require_readable(backups)
    if backups.record.verified is None:
        raise Unmeasured("there is no verified backup yet", _TAKE)
    newest_first = reversed(backups.record.proofs)
    past = (proof for proof in newest_first if not _is_future(exam, proof))
    return next(past, backups.record.verified)


def _is_future(exam: Examination, proof: Proof) -> bool:
    return max(proof.taken_at, proof.verified_at) > exam.now
