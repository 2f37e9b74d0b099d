"""Make deliberate faults in a copy of the product, one at a time, and list those that no test notices.

`python .ci/mutants.py [WORD…]` tries all of them, or those that have one of the words in their file or text.
The exit code is 1 if a fault survives. It is 2 if a file does not have the text of a fault exactly once, or
if the tests fail without a fault: rewrite the fault then. `python .ci/mutants.py --check` only looks at that
the texts and the files of the tests are there.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parent.parent
PATIENCE = 300
"""Seconds after which tests that do not end have noticed the fault."""


class Mutant(NamedTuple):
    """A fault: a text in a file, what stands there instead, and the tests that should notice it."""

    path: str
    text: str
    instead: str
    tests: str
    """Arguments of pytest."""


TASKS = "tests/services/test_task.py -k sqlite"
BULKS = "tests/services/test_bulk.py -k sqlite"
USERS = "tests/services/test_user.py -k sqlite"
RECORDED = "tests/services/test_recording.py tests/cli/test_recording.py -k sqlite"
UNDOING = "tests/services/history/test_undo.py -k sqlite"
OWNERS = "tests/services/history/test_undo_concurrency.py -k 'postgresql18 and owner_gets'"
COUNTERS = "tests/services/history/test_undo.py -k 'postgresql18 and counter'"
ERASED = "tests/services/history/test_erasing.py tests/cli/test_personal.py -k sqlite"
PRUNED = "tests/services/history/test_pruning.py tests/cli/test_history_prune.py -k sqlite"
LOCKS = "tests/services/test_row_locks.py -k 'not import'"
TABLES = "tests/cli/test_tables.py -k 'not postgresql and not pgbouncer'"
LISTS = "tests/services/listing -k sqlite"
SEARCHES = "tests/database/test_sqlite_search.py tests/services/listing/test_filters.py -k sqlite"
CURSORS = "tests/services/listing/test_cursor.py"
TOKENS = "tests/services/test_token.py tests/api/test_access.py -k sqlite"
IMPORTS = "tests/services/test_row_locks.py -k import"
DRY_IMPORTS = "tests/transfer/test_imports.py -k 'dry_run or anew'"
PLACES = "tests/backup/test_several_places.py tests/backup/test_copying.py tests/health/test_places.py"
STORES = "tests/backup/test_object_connections.py tests/backup/test_object_faults.py"
COUNTING = "tests/hostile/test_timeouts.py -k bulk_counting"
LIMITS = "tests/hostile/test_timeouts.py -k 'bulk and not postgresql'"
TRANSACTIONS = "tests/database/test_database.py tests/database/test_retry.py -k 'not postgresql'"
REPLICAS = "tests/database/test_replica.py tests/cli/test_replica.py"
TRIGRAMS = "tests/cli/test_search.py -k postgresql17"
READ_URLS = "tests/test_config.py -k replica"
RESTARTS = "tests/database/test_restart.py"
RESTORES = (
    "tests/backup/test_restore_faults.py tests/backup/test_restore_beside_others.py tests/cli/test_restore.py"
    " -k 'not postgresql'"
)
ARCHIVES = "tests/backup/test_archive.py tests/backup/test_archive_damage.py"
BACKUPS = (
    "tests/backup/test_atomic.py tests/cli/test_backup.py tests/cli/test_backup_faults.py -k 'not postgresql'"
)
AZURE = "tests/backup/test_azure.py"
DIFFERENCES = "tests/backup/test_difference.py -k 'not postgresql'"
NAMES = "tests/backup/test_naming.py tests/cli/test_archive_names.py -k 'not postgresql'"
ENCRYPTION_AT_WORK = "tests/cli/test_encrypted_backups.py"
RECHECK = "tests/backup/test_recheck.py"
RETENTION = "tests/backup/test_retention.py tests/cli/test_backup_ownership.py -k 'not postgresql'"
PERSONS = "tests/cli/test_owner.py tests/cli/test_edit.py -k sqlite"
MIGRATIONS = "tests/services/test_migrate.py tests/services/test_stamp.py -k sqlite"
PROFILES, PROTECTED = "tests/test_profiles.py", "tests/cli/test_protected.py -k 'not postgresql'"
PROBLEMS = "tests/transfer/test_problems.py"
FORMATS = "tests/transfer/test_formats.py"
JSON, VALUES = "tests/transfer/test_json_records.py", "tests/transfer/test_values.py"
CSV_ROWS, READING = "tests/transfer/test_csv_rows.py", "tests/transfer/test_options.py"
LOGS = "tests/test_logging.py -k sentence"

WORDS_TYPED = "tests/cli/test_words.py"

TASK, BULK = "taskdb_cli/services/task.py", "taskdb_cli/services/bulk.py"
USER = "taskdb_cli/services/user.py"
LISTING = "taskdb_cli/services/listing"
SQLITE = "taskdb_cli/database/sqlite"
TIMES = "taskdb_cli/times/grammar.py"
CLOCK = "taskdb_cli/system/clock.py"
FIELDS = "taskdb_cli/models/fields.py"
ODD_ZONES = "tests/hostile/test_arguments.py -k zone"
PHRASES = (
    "tests/test_times.py tests/cli/test_times.py -k 'not postgresql and not pgbouncer and not documented'"
)
CURSOR, TOKEN = f"{LISTING}/cursor.py", "taskdb_cli/services/token.py"
MIGRATE, STAMP = "taskdb_cli/services/migrate.py", "taskdb_cli/services/stamp.py"
DATABASE = "taskdb_cli/database"
RECORDING = f"{DATABASE}/recording.py"
HISTORY = "taskdb_cli/services/history"
BACKUP = "taskdb_cli/backup"
READER = "taskdb_cli/backup/archive.py"
ENCRYPTION = "taskdb_cli/backup/encryption.py"
ENCRYPTED = "tests/backup/test_encryption.py tests/backup/test_encrypted_archives.py"
PIPING = "taskdb_cli/system/piping.py"
PIPES = "tests/test_piping.py"
READS = "tests/api/test_replica.py"
OF_REPLICAS = "tests/backup/test_from_replica.py"
HOSTS = "tests/cli/test_several_hosts.py"
STANDBYS = "tests/health/test_standby.py"
PROGRAMS = "tests/transfer/test_programs.py"
TRANSFER = "taskdb_cli/transfer"
API = "taskdb_cli/api"
CLI = "taskdb_cli/cli"

MUTANTS = (
    # Times.
    Mutant(TIMES, "moments[-1] > context.now if context.forward", "True if context.forward", PHRASES),
    Mutant(TIMES, "else moments[0] <= context.now", "else True", PHRASES),
    Mutant(TIMES, "coming - week < today else", "coming - week <= today else", PHRASES),
    Mutant(TIMES, "return [*same, *moments][0]", "return moments[0]", PHRASES),
    Mutant(TIMES, 'sign == "" and not context.forward', 'sign == ""', PHRASES),
    Mutant(
        TIMES,
        '            if not found.groupdict().get("zone"):\n                require_zone()\n',
        "",
        ODD_ZONES,
    ),
    Mutant(f"{CLI}/output.py", "            require_offset()", "            pass", ODD_ZONES),
    Mutant(CLOCK, "if exists and len(moments) == 1:", "if exists:", PHRASES),
    Mutant(CLOCK, "after if end == exists else before", "after", PHRASES),
    Mutant(
        CLOCK,
        "except OverflowError:\n        return moment.astimezone(UTC)",
        "except KeyError:\n        return moment",
        PHRASES,
    ),
    Mutant(
        CLOCK, "except OverflowError:\n        return wall", "except KeyError:\n        return wall", PHRASES
    ),
    Mutant(CLOCK, 'return "Z" if local.tzinfo is UTC', 'return "Z" if not local', PHRASES),
    # What is new.
    Mutant(FIELDS, "not _VISIBLE.search(value)", "value.isspace()", "tests/services/test_task.py -k invalid"),
    Mutant(
        FIELDS, "_BLANK.search(value)", "re.search(r'\\s', value)", "tests/services/test_user.py -k invalid"
    ),
    Mutant(FIELDS, ", globally_deliverable=has_dot", "", USERS),
    Mutant(USER, "given.email not in (None, user.email)", "given.email is not None", USERS),
    Mutant(USER, "given.email not in (None, user.email)", "False", USERS),
    Mutant(
        f"{LISTING}/query.py", '"Due from this time on.", forward=True', '"Due from this time on."', PHRASES
    ),
    # Versions.
    Mutant(TASK, 'record["version"] != if_version', 'record["version"] > if_version', TASKS),
    Mutant(TASK, 'record["version"] != if_version', 'record["version"] < if_version', TASKS),
    Mutant(TASK, "TASKS.c.version == version", "TASKS.c.version >= version", TASKS),
    Mutant(TASK, "TASKS.c.version == version", "TASKS.c.version <= version", TASKS),
    Mutant(TASK, '"version": TASKS.c.version + 1', '"version": TASKS.c.version', TASKS),
    Mutant(USER, "user.version != if_version", "user.version > if_version", USERS),
    Mutant(USER, "user.version != if_version", "user.version < if_version", USERS),
    Mutant(USER, '"version": _users.version + 1', '"version": _users.version', USERS),
    Mutant(USER, '"version": TASKS.c.version + 1', '"version": TASKS.c.version', USERS),
    # Undo.
    Mutant(f"{HISTORY}/undo.py", '"version": live.c.version + 1', '"version": live.c.version', UNDOING),
    Mutant(f"{HISTORY}/undo.py", "    give_ids(session, live, old)\n", "", COUNTERS),
    Mutant(
        f"{HISTORY}/undo.py", "    if left and not (skip_changed and possible):", "    if False:", UNDOING
    ),
    Mutant(f"{HISTORY}/obstacles.py", "    last = last.correlate_except(later)\n", "", UNDOING),
    Mutant(f"{HISTORY}/obstacles.py", "        (deleted & ~same, _AGAIN),\n", "", UNDOING),
    Mutant(f"{HISTORY}/obstacles.py", "sa.or_(*other), _VALUES", "sa.false(), _VALUES", UNDOING),
    Mutant(f"{HISTORY}/obstacles.py", " & ~owner & ~returning", " & ~owner", UNDOING),
    Mutant(f"{HISTORY}/obstacles.py", "CREATED, owns | token)", "CREATED, token)", UNDOING),
    Mutant(f"{HISTORY}/obstacles.py", "CREATED, owns | token)", "CREATED, owns)", UNDOING),
    Mutant(f"{HISTORY}/obstacles.py", "_update(read=keep, key_share=keep)", "_update()", OWNERS),
    # What the history forgets.
    Mutant("taskdb_cli/services/history/erasing.py", "ever.union(now)", "now", ERASED),
    Mutant("taskdb_cli/services/history/erasing.py", "rows_changed - lost.c.number", "rows_changed", ERASED),
    Mutant("taskdb_cli/services/history/erasing.py", "{*session.scalars(names), *", "{*", ERASED),
    Mutant(
        "taskdb_cli/services/history/erasing.py", '"command": sa.literal(ERASURE,', '"": (ERASURE,', ERASED
    ),
    Mutant("taskdb_cli/services/history/operations.py", "_changes.new_user_id == user", "False", ERASED),
    Mutant("taskdb_cli/database/sqlite/engine.py", 'raw.execute("VACUUM")', "pass", ERASED),
    Mutant(
        "taskdb_cli/services/history/pruning.py", "OPERATIONS.c.at < before).order", "True).order", PRUNED
    ),
    Mutant("taskdb_cli/cli/history_prune.py", "if before is None:", "if not before or run:", PRUNED),
    # What the history has of them.
    Mutant(
        USER,
        "recording.delete_many(session, TOKENS, TOKENS",
        "(lambda _: None)(TOKENS",
        RECORDED,
    ),
    Mutant(RECORDING, "if self.rows != self._written:", "if False:", RECORDED),
    Mutant(RECORDING, "self.id, self.rows, self._written = self._before", "self._before", RECORDED),
    Mutant(
        f"{DATABASE}/__init__.py",
        "Recorder(origin or self.options.origin)",
        "Recorder(self.options.origin)",
        RECORDED,
    ),
    # Locks, and their order.
    Mutant(TASK, "    lock_tasks(session, wanted)\n    changed", "    changed", LOCKS),
    Mutant(BULK, "query.with_for_update()", "query", LOCKS),
    Mutant(TASK, "    if len(wanted) > 1:\n        lock_tasks(session, wanted)\n", "", LOCKS),
    Mutant(TASK, ".order_by(TASKS.c.id).with_for_update()", ".with_for_update()", LOCKS),
    Mutant(TASK, "order_by(TASKS.c.id).with_for", "order_by(TASKS.c.id.desc()).with_for", LOCKS),
    Mutant(
        USER, "involved(session, refs, reassign_to, lock=True)", "involved(session, refs, reassign_to)", LOCKS
    ),
    Mutant(USER, "sorted([*users, heir.id] if heir else users)", "sorted(users)", LOCKS),
    Mutant(USER, "for id in sorted([*", "for id in list([*", LOCKS),
    Mutant(USER, "get(session, str(id), lock=True)", "get(session, str(id))", LOCKS),
    Mutant(USER, "order_by(col(Task.id)).with_for_update()", "order_by(col(Task.id))", LOCKS),
    Mutant(USER, ".order_by(col(Task.id)).with_for_update()", ".with_for_update()", LOCKS),
    Mutant(USER, "user = get(session, ref, lock=True)", "user = get(session, ref)", LOCKS),
    Mutant(f"{TRANSFER}/staging.py", ".order_by(old.id).with_for_update(of=self.target)", "", IMPORTS),
    Mutant(f"{TRANSFER}/staging.py", ".order_by(old.id).with_for", ".with_for", IMPORTS),
    Mutant(f"{TRANSFER}/staging.py", "query.where(sa.false()) if dry_run else ", "", DRY_IMPORTS),
    Mutant("taskdb_cli/database/sqlite/engine.py", "build_indexes(raw, definitions)", "pass", DRY_IMPORTS),
    Mutant("taskdb_cli/database/sqlite/engine.py", "bulk=BULK in options", "bulk=False", LIMITS),
    Mutant("taskdb_cli/backup/restore.py", "target.connect(bulk=True)", "target.connect()", COUNTING),
    Mutant(f"{BACKUP}/splitting.py", "_locked.push(self._writing)", "_writing.close()", PLACES),
    Mutant(
        f"{BACKUP}/stores/lease.py", "        if self._unanswered:\n            self._find()\n", "", STORES
    ),
    Mutant(f"{BACKUP}/stores/credentials.py", "datetime.now(UTC)", "None", STORES),
    Mutant(f"{BACKUP}/stores/lease.py", "except RequestUnknown:", "except StorageFailed:", STORES),
    Mutant(f"{BACKUP}/create.py", "SplitFile(branches)", "SplitFile(working(branches))", PLACES),
    Mutant(f"{BACKUP}/copying.py", "if digest_of(stored) != sent:", "if False:", PLACES),
    Mutant("taskdb_cli/health/checks/backups.py", "tags.get(file.name) != proof.tag", "False", PLACES),
    Mutant(f"{TRANSFER}/tasks.py", ".order_by(owners.id).with_for_update()", "", IMPORTS),
    Mutant(f"{TRANSFER}/tasks.py", ".order_by(owners.id).with_for", ".with_for", IMPORTS),
    Mutant(f"{TRANSFER}/users.py", "        lock_table(session, users)\n", "", IMPORTS),
    # Files of other programs.
    Mutant(f"{TRANSFER}/csv_rows.py", "again += reversed(self.taken)", "again += self.taken", CSV_ROWS),
    Mutant(f"{TRANSFER}/csv_rows.py", "csv.field_size_limit(before)", "pass", CSV_ROWS),
    Mutant(f"{TRANSFER}/csv_rows.py", "self.reread += self._size", "pass", CSV_ROWS),
    Mutant(f"{TRANSFER}/json_records.py", " and _is_deep(value)", " and False", JSON),
    Mutant(f"{TRANSFER}/csv_rows.py", "if fault or any(cells):", "if fault or cells:", CSV_ROWS),
    Mutant(f"{TRANSFER}/formats/trello.py", "with suppress(ValueError):", "if True:", PROGRAMS),
    Mutant(f"{TRANSFER}/formats/ics.py", " and all(map(_RULE.fullmatch, rules))", "", PROGRAMS),
    Mutant(f"{TRANSFER}/formats/ics.py", "(name in _KINDS or not kind)", "not kind", PROGRAMS),
    Mutant(
        f"{TRANSFER}/formats/ics.py", "if kind or calendar:\n        cut", "if kind:\n        cut", PROGRAMS
    ),
    Mutant(f"{TRANSFER}/formats/github.py", "or unmerged", "", PROGRAMS),
    Mutant(f"{TRANSFER}/formats/trello.py", 'or in_list.get("closed")', "", PROGRAMS),
    Mutant(f"{TRANSFER}/csv_records.py", "if not any(columns.faults(header)):", "if False:", READING),
    # All or nothing, and who may.
    Mutant(TASK, "    if missing:\n", "    if not wanted:\n", TASKS),
    Mutant(BULK, "seal != shown.seal", "False", BULKS),
    Mutant(BULK, "query = query.where(_tasks.id <= shown.last)", "pass", BULKS),
    Mutant(BULK, "or_(false(), *change.differences.values())", "_tasks.id > 0", BULKS),
    Mutant(TASK, "or_(*differs.values())", "TASKS.c.id > 0", TASKS),
    Mutant(TASK, 'case((differs["status"], completed), else_=TASKS.c.completed_at)', "completed", TASKS),
    Mutant(USER, "if heir is not None and heir.id in users:", "if False:", USERS),
    Mutant(TOKEN, "if token.is_active is False:", "if token.is_active is None:", TOKENS),
    Mutant(TOKEN, "users.get_id(session, ref) != self.user_id", "False", TOKENS),
    Mutant(TOKEN, "if token.expires_at is not None and token.expires_at <= now:", "if False:", TOKENS),
    Mutant(
        f"{DATABASE}/__init__.py",
        "if dry_run:\n                    return work",
        "if False:\n                    return work",
        TRANSACTIONS,
    ),
    Mutant(f"{DATABASE}/__init__.py", "if not self._committed(transaction):", "if True:", RESTARTS),
    Mutant(f"{DATABASE}/retry.py", " or not error.passing:", ":", TRANSACTIONS),
    Mutant(f"{DATABASE}/retry.py", "time.monotonic() - begin + error.cost >= budget", "False", TRANSACTIONS),
    # Lists.
    Mutant(f"{LISTING}/pages.py", "if len(records) == limit or", "if len(records) == limit + 1 or", LISTS),
    Mutant(f"{LISTING}/pages.py", "skip -= session", "skip = session", TABLES),
    Mutant("taskdb_cli/output/layout.py", "if left >= 0 or name", "if name", TABLES),
    Mutant("taskdb_cli/output/tables.py", "chunk if len(chunk) < _CHUNK else None", "chunk", TABLES),
    Mutant("taskdb_cli/output/pager.py", "code == 0 or bool", "True or bool", TABLES),
    Mutant(f"{LISTING}/pages.py", "row < bounds if", "row <= bounds if", LISTS),
    Mutant(f"{LISTING}/pages.py", "else row > bounds", "else row >= bounds", LISTS),
    Mutant(f"{LISTING}/pages.py", "else expression > bound", "else expression >= bound", LISTS),
    Mutant(f"{LISTING}/pages.py", "term.nulls_last() if self.nullable else ", "", LISTS),
    # What keeps the search index of a file right, and when it is used.
    Mutant(f"{SQLITE}/search.py", "[*_PARTS])} == _PARTS", "[*_PARTS])} != {}", SEARCHES),
    Mutant(f"{SQLITE}/search.py", "_SETTING, *_FILL, *_TRIGGERS", "_SETTING, *_TRIGGERS", SEARCHES),
    Mutant(f"{SQLITE}/search.py", "if _find_missed(raw, 1)", "if False", SEARCHES),
    Mutant(f"{SQLITE}/search.py", "if was_on and not", "if False and not", SEARCHES),
    Mutant(
        f"{SQLITE}/search.py", 'in ("id", "title", "description")', 'in ("title", "description")', SEARCHES
    ),
    Mutant(
        f"{SQLITE}/search.py",
        "few + 1) > few:\n            if whole",
        "few + 1) < 0:\n            if whole",
        SEARCHES,
    ),
    Mutant(f"{SQLITE}/search.py", "PATIENCE = 20_000", "PATIENCE = 1", SEARCHES),
    Mutant(f"{LISTING}/pages.py", "after, skip = order.position(records[-1]), 0", "skip = 0", SEARCHES),
    Mutant(f"{SQLITE}/search.py", "if users and _count", "if False and _count", SEARCHES),
    Mutant(f"{SQLITE}/search.py", "(tasks.user_id + 0)", "tasks.user_id", SEARCHES),
    Mutant(f"{SQLITE}/search.py", """.replace('"', '""')""", "", SEARCHES),
    Mutant(f"{SQLITE}/search.py", "if wanted and not raw", "if not wanted and not raw", SEARCHES),
    Mutant(f"{SQLITE}/engine.py", "search.forget(raw)", "pass", SEARCHES),
    Mutant(f"{SQLITE}/content.py", " and not search.is_ours(name, sql)", "", SEARCHES),
    Mutant(f"{LISTING}/filters.py", '_at"] >= moment', '_at"] > moment', LISTS),
    Mutant(f"{LISTING}/filters.py", '_at"] < moment', '_at"] <= moment', LISTS),
    Mutant(f"{LISTING}/filters.py", 'in (_ESCAPE, "%", "_"):', 'in ("%", "_"):', LISTS),
    Mutant(CURSOR, "checksum != _checksum(body, listing)", "False", CURSORS),
    Mutant(CURSOR, "if not order.holds(position):", "if False:", CURSORS),
    # What is guessed or asked at a terminal, and the editor.
    Mutant("taskdb_cli/cli/owner.py", "seen and output.format", "output.format", PERSONS),
    Mutant("taskdb_cli/cli/owner.py", " and sys.stderr.isatty()", "", PERSONS),
    Mutant("taskdb_cli/cli/edit.py", 'if_version=task["version"]', "if_version=None", PERSONS),
    Mutant("taskdb_cli/cli/edit.py", "kept = _read_bytes(file) != text.encode()", "kept = False", PERSONS),
    # Archives, backups and restores.
    Mutant(
        f"{BACKUP}/partial_restore.py",
        "else_=old.c.version) + 1",
        "else_=old.c.version)",
        "tests/cli/test_partial_restore.py -k 'sqlite and differs'",
    ),
    Mutant(
        f"{BACKUP}/partial_restore.py",
        "(~there, old.c.id)",
        "(sa.true(), old.c.id)",
        "tests/cli/test_partial_restore.py -k 'sqlite and something_else'",
    ),
    Mutant(
        f"{BACKUP}/matching.py",
        "where(each, _is_unmatched(old, live))",
        "where(each)",
        "tests/cli/test_partial_restore.py -k 'sqlite and another_has_its_value'",
    ),
    Mutant(
        f"{BACKUP}/matching.py",
        '"number", *names',
        "*names",
        "tests/cli/test_partial_restore.py -k 'sqlite and alike'",
    ),
    Mutant(
        f"{BACKUP}/partial_restore.py",
        'errors.TransactionConflict(f"{exc.message}; the row was added meanwhile")',
        "errors.Conflict(exc.message)",
        "tests/backup/test_partial_restore.py -k 'postgresql18 and twice'",
    ),
    Mutant(
        f"{BACKUP}/selection.py",
        'if b"" in fields:',
        "if False:",
        "tests/backup/test_partial_restore.py -k found",
    ),
    Mutant(f"{BACKUP}/restore.py", "(held.rows or damaged) and not", "damaged and not", RESTORES),
    Mutant(
        f"{BACKUP}/restore.py",
        "isinstance(opened, Archive) and opened.encrypted",
        "False",
        "tests/cli/test_restore_reads.py -k 'temporary and encrypted'",
    ),
    Mutant(
        f"{BACKUP}/partial_restore.py",
        "if archive.encrypted:",
        "if False:",
        "tests/cli/test_restore_reads.py -k 'temporary and encrypted'",
    ),
    Mutant(f"{BACKUP}/restore.py", "if held and not replace:", "if False:", RESTORES),
    Mutant(f"{BACKUP}/restore.py", "            if held:\n", "            if False:\n", RESTORES),
    Mutant(f"{BACKUP}/restore.py", "safety(content)\n", "pass\n", RESTORES),
    Mutant(f"{BACKUP}/restore.py", "(faults := content.faults())", "(faults := [])", RESTORES),
    Mutant(
        f"{BACKUP}/restore.py",
        "(found.rows, found.sha256) != (expected.rows, expected.sha256)",
        "found.rows != expected.rows",
        RESTORES,
    ),
    Mutant(
        f"{BACKUP}/row_lines.py",
        "if ours[:size] == theirs[:size]:",
        "if ours[:1] == theirs[:1]:",
        DIFFERENCES,
    ),
    Mutant(f"{BACKUP}/row_lines.py", "            if other_id <= id:", "            if True:", DIFFERENCES),
    Mutant(f"{BACKUP}/difference.py", "self.old.seal == self.new.seal", "self.new.seal", DIFFERENCES),
    Mutant(f"{BACKUP}/naming.py", "with_label=entry.label not in labels", "with_label=False", NAMES),
    Mutant(
        f"{BACKUP}/naming.py", "for entry in own if is_within", "for entry in everything if is_within", NAMES
    ),
    Mutant(f"{BACKUP}/naming.py", "span[0] <= entry.taken_at < span[1]", "span[0] <= entry.taken_at", NAMES),
    Mutant(
        f"{BACKUP}/create.py", "(backup.manifest, backup.seal, backup.digest) != written", "False", BACKUPS
    ),
    Mutant(f"{BACKUP}/create.py", "    archive.verify()\n", "", BACKUPS),
    Mutant(f"{BACKUP}/stores/azure.py", "        if not self.account.sas:\n", "        if True:\n", AZURE),
    Mutant(f"{BACKUP}/stores/azure.py", "f'\"{tag}\"' if tag", "tag if tag", AZURE),
    Mutant(f"{BACKUP}/stores/local.py", "        self._stream.flush()\n", "", BACKUPS),
    Mutant(f"{BACKUP}/atomic.py", "_sync(partial)\n        try:", "pass\n        try:", BACKUPS),
    Mutant(
        f"{BACKUP}/atomic.py",
        "os.link(path, name, follow_symlinks=False)",
        "os.replace(path, name)",
        BACKUPS,
    ),
    Mutant(READER, "if digest.content(table, content.columns) != content:", "if False:", ARCHIVES),
    Mutant(READER, "if self.matching_seal() != self.seal:", "if False:", ARCHIVES),
    Mutant(READER, "if self._crc != self._member.crc:", "if False:", ARCHIVES),
    Mutant(ENCRYPTION, "if self._source.read(1):", "if False:", ENCRYPTED),
    Mutant(f"{BACKUP}/create.py", "    if recipients:", "    if False:", ENCRYPTED),
    Mutant(ENCRYPTION, "                self._filter.finish()\n", "", ENCRYPTED),
    Mutant(PIPING, "                if self._failure:", "                if False:", PIPES),
    Mutant(PIPING, "if not self._pipe.ended:", "if False:", PIPES),
    Mutant(READER, "if digest.bytes > content.bytes:", "if False:", ARCHIVES),
    Mutant(READER, "if frame.window_size > MAX_WINDOW:", "if False:", ARCHIVES),
    Mutant(f"{BACKUP}/retention.py", "number <= policy.at_least", "number < policy.at_least", RETENTION),
    Mutant(f"{BACKUP}/retention.py", "if entry.taken_at > now:", "if False:", RETENTION),
    Mutant(f"{BACKUP}/retention.py", " and period not in periods:", ":", RETENTION),
    Mutant(f"{BACKUP}/retention.py", "number == len(good)", "False", RETENTION),
    Mutant(f"{BACKUP}/ownership.py", " and label not in self._claimed", "", RETENTION),
    Mutant(f"{BACKUP}/recheck.py", "[: ceil(len(entries) / days)]", "", RECHECK),
    Mutant(f"{BACKUP}/recheck.py", "if damage is None:", "if True:", RECHECK),
    Mutant(f"{BACKUP}/proving.py", "if archive.seal != proof.seal:", "if False:", RECHECK),
    Mutant(
        f"{BACKUP}/proving.py",
        "if found not in (None, wanted):",
        "if False:",
        ENCRYPTION_AT_WORK,
    ),
    Mutant(
        "taskdb_cli/cli/restore.py",
        "recipients=recipients",
        "recipients=()",
        ENCRYPTION_AT_WORK,
    ),
    Mutant(
        "taskdb_cli/cli/migrate.py",
        "recipients=recipients",
        "recipients=()",
        ENCRYPTION_AT_WORK,
    ),
    Mutant(f"{BACKUP}/entry.py", "if seal_of(entry.file) == proof.seal else", "if True else", RECHECK),
    Mutant(f"{BACKUP}/history.py", "damages.pop(each.archive, None)", "pass", RECHECK),
    # Settings, and what a protected profile asks for.
    Mutant("taskdb_cli/system/layers.py", '{"option": 0, "environment": 1}', '{"option": 1}', PROFILES),
    Mutant("taskdb_cli/system/layers.py", "if not is_its_database:", "if False:", PROFILES),
    Mutant("taskdb_cli/system/profiles.py", "is_open(status) and holds_password(text):", "False:", PROFILES),
    Mutant("taskdb_cli/cli/context.py", "return yes and guard is None", "return yes", PROTECTED),
    Mutant(
        "taskdb_cli/cli/context.py", "answer == guard if guard else", "bool(answer) if guard else", PROTECTED
    ),
    Mutant("taskdb_cli/system/profiles.py", "not table.keys() <= KEYS.keys()", "False", PROTECTED),
    Mutant(
        "taskdb_cli/system/profiles.py",
        "table[PROTECTED] is not False",
        "table[PROTECTED] is True",
        PROTECTED,
    ),
    Mutant(
        "taskdb_cli/database/sqlite/engine.py",
        "{self.fingerprint(None) or self.file()}",
        "{self.file()}",
        PROTECTED,
    ),
    Mutant(
        "taskdb_cli/database/postgresql/target.py",
        'host.lower().rstrip("."))',
        "host)",
        "tests/database/test_target.py -k spellings",
    ),
    # Migrations.
    Mutant(MIGRATE, "if not even_ahead:", "if False:", MIGRATIONS),
    Mutant(MIGRATE, "if before and holds_rows:", "if False:", MIGRATIONS),
    Mutant(STAMP, "if unknown and to is None:", "if False:", MIGRATIONS),
    # How a command line is read.
    Mutant(f"{CLI}/words.py", '"--yes": "--force"', '"--replace": "--force"', WORDS_TYPED),
    Mutant(
        f"{CLI}/words.py", "            root.obj.take_options(root.params)", "            pass", WORDS_TYPED
    ),
    Mutant(f"{CLI}/words.py", "self._long_opt |= own[0]", "self._long_opt = own[0]", WORDS_TYPED),
    Mutant(f"{CLI}/words.py", "self.text and 0 < number", "self.text and 1 < number", WORDS_TYPED),
    Mutant(f"{CLI}/words.py", "late[option.name] += root", "late[option.name] = root", WORDS_TYPED),
    Mutant(MIGRATE, "if amount != 0:", "if True:", MIGRATIONS),
    Mutant(f"{DATABASE}/sql_log.py", "logging.INFO if long else logging.WARNING", "logging.WARNING", LOGS),
    # Backups from a replica, and what health says of one.
    Mutant(f"{BACKUP}/from_replica.py", "options_after(goal,", "options_after(0,", OF_REPLICAS),
    Mutant(f"{BACKUP}/from_replica.py", "require_replica(now, found)", "pass", OF_REPLICAS),
    Mutant(
        f"{DATABASE}/replica.py", "if is_ahead and", "if False and", "tests/cli/test_replica.py -k failover"
    ),
    Mutant(f"{BACKUP}/from_replica.py", "found.log.in_recovery and not is_standby", "False", OF_REPLICAS),
    Mutant(
        f"{BACKUP}/from_replica.py",
        "primary.backend.flush_log(connection)",
        "pass",
        "tests/cli/test_backup_replica.py -k flushed",
    ),
    Mutant(
        f"{BACKUP}/from_replica.py", "            primary.backend.log_end(held.connection)\n", "", OF_REPLICAS
    ),
    Mutant(f"{BACKUP}/from_replica.py", "content.address = held.address", "pass", OF_REPLICAS),
    Mutant("taskdb_cli/health/checks/standby.py", "if not state.is_connected:", "if False:", STANDBYS),
    Mutant(
        "taskdb_cli/health/checks/standby.py", "while state.replayed < goal and", "while False and", STANDBYS
    ),
    # Several hosts.
    Mutant(
        f"{DATABASE}/postgresql/transactions.py", "    if is_standby(connection):", "    if False:", HOSTS
    ),
    Mutant(
        f"{DATABASE}/postgresql/engine.py",
        "sorted({*map(str, self.target.hosts)})",
        "map(str, self.target.hosts)",
        HOSTS,
    ),
    Mutant(f"{BACKUP}/restore.py", "if may_be_its and", "if False and", HOSTS),
    # Which rows a server gives that reads a replica.
    Mutant(
        f"{API}/replica.py", "options_after(max(own, given), patience)", "options_after(own, patience)", READS
    ),
    Mutant(
        f"{API}/replica.py",
        "options_after(max(own, given), patience)",
        "options_after(given, patience)",
        READS,
    ),
    Mutant(f"{API}/replica.py", "and self._missed == self._regained", "", READS),
    Mutant(f"{API}/replica.py", "self._missed += 1", "pass", READS),
    Mutant(f"{API}/replica.py", "if position < before == self._written:", "if False:", READS),
    Mutant(f"{API}/replica.py", "if lag > self._most_lag:", "if False:", READS),
    Mutant(f"{API}/replica.py", "if exc.cost:", "if False:", READS),
    Mutant(f"{API}/replica.py", "self._require_alike(session.connection())", "pass", READS),
    Mutant(f"{DATABASE}/postgresql/connection.py", "info.pop(COMPARED, None)", "pass", READS),
    Mutant(
        f"{API}/auth.py",
        "self.position = replica.note_commits()\n            raise",
        "raise",
        f"{READS} -k refused",
    ),
    Mutant(f"{API}/replica.py", "self._turn_away(silence.message)", "pass", READS),
    Mutant(
        f"{API}/replica.py",
        "self.database.backend.break_connections()\n\n    def _examine",
        "pass\n\n    def _examine",
        READS,
    ),
    Mutant(f"{API}/replica.py", "exec_driver_sql(_TOUCH).close()", "info", READS),
    Mutant(f"{DATABASE}/postgresql/replication.py", "if not in_recovery:", "if False:", READS),
    Mutant(f"{DATABASE}/postgresql/replication.py", "info.get(_REPLAYED, -1) >= position:", "True:", READS),
    # Which rows a replica has.
    Mutant(f"{DATABASE}/replica.py", "primary.identity != replica.identity", "False", REPLICAS),
    Mutant(f"{DATABASE}/replica.py", "primary.revision != replica.revision", "False", REPLICAS),
    Mutant(f"{DATABASE}/replica.py", "not replica.log.in_recovery and", "", REPLICAS),
    Mutant(f"{DATABASE}/replica.py", "replica.server != primary.server", "False", REPLICAS),
    Mutant(f"{DATABASE}/replica.py", "log.position < primary.log.position", "True", REPLICAS),
    Mutant(f"{DATABASE}/replica.py", "time.monotonic() < deadline", "False", REPLICAS),
    Mutant(f"{CLI}/replica.py", "lag > settings.read_lag", "lag > 0", REPLICAS),
    Mutant(f"{CLI}/replica.py", "keep=True", "keep=False", REPLICAS),
    Mutant(f"{CLI}/context.py", "if self.replica:", "if False:", REPLICAS),
    Mutant("taskdb_cli/config.py", "    texts.pop(READ_ADDRESS, None)\n", "", READ_URLS),
    Mutant(f"{DATABASE}/postgresql/errors.py", "cause.diag.source_file == _RECOVERY", "False", REPLICAS),
    # The search index on PostgreSQL.
    Mutant(
        f"{DATABASE}/postgresql/search.py",
        'return "" if part.is_valid else',
        'return "" if True else',
        TRIGRAMS,
    ),
    Mutant(f"{DATABASE}/postgresql/search.py", "if part.builder:", "if False:", TRIGRAMS),
    Mutant(f"{DATABASE}/postgresql/search.py", "if owns and may_create:", "if owns:", TRIGRAMS),
    Mutant(f"{DATABASE}/postgresql/search.py", "        if not usable:\n", "        if False:\n", TRIGRAMS),
    Mutant(f"{DATABASE}/postgresql/search.py", '"ANALYZE tasks"', '"SELECT 1"', TRIGRAMS),
    Mutant(f"{DATABASE}/postgresql/search.py", "SET lock_timeout = '{_ALONE}'", "SELECT nothing", TRIGRAMS),
    Mutant(f"{DATABASE}/postgresql/schema.py", """del found[f"index {name}"]""", "pass", TRIGRAMS),
    Mutant(f"{LISTING}/filters.py", "func.lower if _WORD.search(pattern)", "func.lower if pattern", TRIGRAMS),
    Mutant(f"{DATABASE}/postgresql/search.py", "if theirs <= _FEW:", "if False:", TRIGRAMS),
    Mutant(f"{DATABASE}/postgresql/search.py", "> 2 * sqrt(max(rows, 0))", "< 0", TRIGRAMS),
    Mutant(f"{DATABASE}/postgresql/search.py", "_SAMPLE = 1000", "_SAMPLE = 100", TRIGRAMS),
    # What people are told.
    Mutant(f"{TRANSFER}/record_ids.py", "id if times == 1 else", "id if times else", FORMATS),
    Mutant(f"{TRANSFER}/formats/ticktick.py", "if own:", "if True:", FORMATS),
    Mutant(
        f"{TRANSFER}/foreign.py",
        "if any(each <= {*ours} for each in names for ours in (TASK_FIELDS, USER_FIELDS)):",
        "if False:",
        FORMATS,
    ),
    Mutant(
        f"{TRANSFER}/json_records.py", '            elif mark == "\\\\":\n                at += 1\n', "", JSON
    ),
    Mutant(f"{TRANSFER}/json_records.py", "        self.skip()\n        at_end", "        at_end", JSON),
    Mutant(f"{TRANSFER}/json_records.py", "find_undecoded(text) is None", "True", READING),
    Mutant(f"{TRANSFER}/decoding.py", "not (needs_mark and head)", "True", READING),
    Mutant("taskdb_cli/times/__init__.py", "day + timedelta(days=1), time.min", "day, time.min", VALUES),
    Mutant(f"{TRANSFER}/problems.py", "elif len(self._kinds) < MOST_KINDS:", "elif True:", PROBLEMS),
    Mutant(f"{TRANSFER}/problems.py", "self._kept.truncate()", "pass", PROBLEMS),
)


def main(words: list[str]) -> int:
    """Check the texts of all faults, and try them unless that was all; return the exit code."""
    if outdated := list(_outdated()):
        print(*outdated, sep="\n", file=sys.stderr)
        return 2
    if words == ["--check"]:
        return 0
    chosen = [each for each in MUTANTS if any(word in f"{each.path} {each.text}" for word in words or [""])]
    survivors = []
    sound: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="taskdb-mutants-") as directory:
        place = Path(directory) / "taskdb"
        for name in (
            "taskdb_cli",
            "migrations",
            "tests",
            "pyproject.toml",
            "alembic.ini",
            "README.md",
            "docs",
        ):
            source = PROJECT / name
            if source.is_dir():
                shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, place / name)
        for number, mutant in enumerate(chosen, start=1):
            if mutant.tests not in sound and not _pass(place, mutant.tests):
                print(f"these tests fail without a fault: {mutant.tests}", file=sys.stderr)
                return 2
            sound.add(mutant.tests)
            begun, file = time.monotonic(), place / mutant.path
            whole = file.read_text()
            file.write_text(whole.replace(mutant.text, mutant.instead))
            survived = _pass(place, mutant.tests)
            file.write_text(whole)
            if survived:
                survivors.append(mutant)
            verdict = f"{'SURVIVED' if survived else 'caught'} in {time.monotonic() - begun:.0f} s"
            print(f"{number}/{len(chosen)} {verdict}: {_in_words(mutant)}", flush=True)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} faults caught")
    for mutant in survivors:
        print(f"survived: {_in_words(mutant)}")
    return 1 if survivors else 0


def _outdated() -> Iterator[str]:
    """Yield what is wrong with the declarations of faults."""
    for mutant in MUTANTS:
        file = PROJECT / mutant.path
        count = file.read_text().count(mutant.text) if file.exists() else 0
        if count != 1:
            yield f"the text stands {count} times: {_in_words(mutant)}"
        for word in shlex.split(mutant.tests):
            if word.startswith("tests/") and not (PROJECT / word).exists():
                yield f"there is no {word}: {_in_words(mutant)}"


def _in_words(mutant: Mutant) -> str:
    before, after = (" ".join(text.split()) for text in (mutant.text, mutant.instead))
    return f"{mutant.path}: {before!r} -> {after!r}"


def _pass(place: Path, tests: str) -> bool:
    """Return whether tests pass in time, with the product at a place."""
    command = [sys.executable, "-m", "pytest", "-qx", "-n0", "-p", "no:cacheprovider", *shlex.split(tests)]
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, timeout=PATIENCE, check=False, text=True
        )
    except subprocess.TimeoutExpired:
        return False
    if done.returncode not in (0, 1):
        print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
        raise SystemExit(2)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
