"""Make deliberate faults in a copy of the product, one at a time, and list those that no test notices.

`python .ci/mutants.py [WORD…]` runs all of them, or those that have one of the words in their file or text.
The exit code is 1 if a fault survives, and 2 if its file does not have the text any more. Then rewrite it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
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


TASKS = "tests/services/test_task.py tests/services/test_row_locks.py"
USERS = "tests/services/test_user.py tests/services/test_row_locks.py"
LISTS = "tests/services/listing"
CURSORS = "tests/services/listing/test_cursor.py"
TOKENS = "tests/services/test_token.py tests/api/test_access.py"
IMPORTS = "tests/transfer/test_imports.py tests/services/test_row_locks.py"
TRANSACTIONS = "tests/database/test_database.py tests/database/test_retry.py tests/database/test_restart.py"
RESTORES = (
    "tests/backup/test_restore_faults.py tests/backup/test_restore_beside_others.py tests/cli/test_restore.py"
)
ARCHIVES = "tests/backup/test_archive.py tests/backup/test_archive_damage.py"
BACKUPS = "tests/backup/test_atomic.py tests/cli/test_backup.py tests/cli/test_backup_faults.py"
RETENTION = "tests/backup/test_retention.py tests/cli/test_backup_ownership.py"
MIGRATIONS = "tests/services/test_migrate.py tests/services/test_migrate_locks.py"

TASK, USER = (f"taskdb_cli/services/{name}.py" for name in ("task", "user"))
WRITING = TASK
QUERY, LISTING, ORDERING = (
    f"taskdb_cli/services/listing/{name}.py" for name in ("filters", "pages", "sorting")
)
CURSOR, TOKEN = "taskdb_cli/services/listing/cursor.py", "taskdb_cli/services/token.py"
RESTORE, MIGRATE = "taskdb_cli/backup/restore.py", "taskdb_cli/services/migrate.py"
BACKUP, DATABASE, READER = "taskdb_cli/backup", "taskdb_cli/database", "taskdb_cli/backup/archive/reader.py"
TRANSFER = "taskdb_cli/transfer"

MUTANTS = (
    # Versions.
    Mutant(TASK, 'record["version"] != if_version', 'record["version"] > if_version', TASKS),
    Mutant(TASK, 'record["version"] != if_version', 'record["version"] < if_version', TASKS),
    Mutant(
        WRITING,
        '_tasks.c.version == bindparam("expected")',
        '_tasks.c.version >= bindparam("expected")',
        TASKS,
    ),
    Mutant(WRITING, '"version": _tasks.c.version + 1', '"version": _tasks.c.version', TASKS),
    Mutant(USER, "user.version != if_version", "user.version > if_version", USERS),
    Mutant(USER, "user.version != if_version", "user.version < if_version", USERS),
    Mutant(USER, "user.version += 1", "user.version += 0", USERS),
    Mutant(USER, "version=Task.version + 1, updated_at=now", "updated_at=now", USERS),
    # Locks, and their order.
    Mutant(TASK, "    lock_tasks(session, wanted)\n    changed", "    changed", TASKS),
    Mutant(TASK, "    if len(wanted) > 1:\n        lock_tasks(session, wanted)\n", "", TASKS),
    Mutant(WRITING, ".order_by(_tasks.c.id).with_for_update()", ".with_for_update()", TASKS),
    Mutant(
        WRITING,
        ".order_by(_tasks.c.id).with_for_update()",
        ".order_by(_tasks.c.id.desc()).with_for_update()",
        TASKS,
    ),
    Mutant(USER, "    _lock(session, ids if heir is None else [*ids, heir.id])\n", "", USERS),
    Mutant(USER, "ids if heir is None else [*ids, heir.id]", "ids", USERS),
    Mutant(USER, "for id in sorted(ids):", "for id in ids:", USERS),
    Mutant(USER, "get(session, str(id), lock=True)", "get(session, str(id))", USERS),
    Mutant(
        USER,
        "in_(owners)).order_by(col(Task.id)).with_for_update()\n    result",
        "in_(owners)).order_by(col(Task.id))\n    result",
        USERS,
    ),
    Mutant(
        USER,
        "in_(owners)).order_by(col(Task.id)).with_for_update()\n    statement",
        "in_(owners)).order_by(col(Task.id))\n    statement",
        USERS,
    ),
    Mutant(
        USER,
        "user = get(session, ref, lock=True)",
        "user = get(session, ref)",
        "tests/services/test_concurrency.py",
    ),
    Mutant(f"{TRANSFER}/staging.py", ".order_by(table.c.id).with_for_update(of=table)", "", IMPORTS),
    Mutant(f"{TRANSFER}/tasks.py", ".order_by(_user.id).with_for_update()", "", IMPORTS),
    # All or nothing, and who may.
    Mutant(TASK, "if missing := [id for id in wanted if id not in found]:", "if not found:", TASKS),
    Mutant(WRITING, "or_(*differs.values())", "_tasks.c.id > 0", TASKS),
    Mutant(TOKEN, "if is_active is False:", "if is_active is None:", TOKENS),
    Mutant(TOKEN, "users.get_id(session, ref) != self.user_id", "False", TOKENS),
    Mutant(
        f"{DATABASE}/__init__.py",
        "if not dry_run:\n                    self",
        "if True:\n                    self",
        TRANSACTIONS,
    ),
    Mutant(f"{DATABASE}/__init__.py", "if not self._committed(transaction):", "if True:", TRANSACTIONS),
    Mutant(
        f"{DATABASE}/retry.py",
        "if not error.passing or is_spent(error):",
        "if is_spent(error):",
        TRANSACTIONS,
    ),
    Mutant(f"{DATABASE}/retry.py", "time.monotonic() - begin + cost >= budget", "False", TRANSACTIONS),
    # Lists.
    Mutant(LISTING, "limit + 1 - len(records)", "limit - len(records)", LISTS),
    Mutant(
        ORDERING,
        "return row < bounds if keys[0].descending else row > bounds",
        "return row <= bounds if keys[0].descending else row >= bounds",
        LISTS,
    ),
    Mutant(ORDERING, "directed.nulls_last() if self.key.nullable else directed", "directed", LISTS),
    Mutant(
        QUERY,
        "yield col(column) >= _parameter(after, column)",
        "yield col(column) > _parameter(after, column)",
        LISTS,
    ),
    Mutant(
        QUERY,
        "yield col(column) < _parameter(before, column)",
        "yield col(column) <= _parameter(before, column)",
        LISTS,
    ),
    Mutant(QUERY, 'for character in (_ESCAPE, "%", "_"):', 'for character in ("%", "_"):', LISTS),
    # Archives, backups and restores.
    Mutant(RESTORE, "if replaced or damaged or trial:", "if trial:", RESTORES),
    Mutant(
        RESTORE,
        "(found.rows, found.sha256) != (expected.rows, expected.sha256)",
        "found.rows != expected.rows",
        RESTORES,
    ),
    Mutant(RESTORE, "    if held and not replace:", "    if False:", RESTORES),
    Mutant(RESTORE, "        safety(content)\n", "        pass\n", RESTORES),
    Mutant(RESTORE, "if dry_run and (faults := content.faults()):", "if faults := []:", RESTORES),
    Mutant(f"{BACKUP}/taking.py", "if found.manifest != written:", "if False:", BACKUPS),
    Mutant(f"{BACKUP}/taking.py", "        archive.verify()\n", "", BACKUPS),
    Mutant(f"{BACKUP}/taking.py", "            sync(stream)\n", "", BACKUPS),
    Mutant(f"{BACKUP}/files.py", "        _sync_path(partial)\n        try:", "        try:", BACKUPS),
    Mutant(
        f"{BACKUP}/files.py",
        "os.link(partial, final, follow_symlinks=False)",
        "os.replace(partial, final)",
        BACKUPS,
    ),
    Mutant(READER, "if digest.content(table, content.columns) != content:", "if False:", ARCHIVES),
    Mutant(READER, 'if seal != f"sha256:{digest.hexdigest()}":', "if False:", ARCHIVES),
    Mutant(READER, "if not self.remaining and self._crc != self._expected:", "if False:", ARCHIVES),
    Mutant(f"{BACKUP}/retention.py", "newest_first[: policy.at_least]", "newest_first[: 0]", RETENTION),
    Mutant(f"{BACKUP}/retention.py", "if entry.taken_at > now:", "if False:", RETENTION),
    Mutant(f"{BACKUP}/retention.py", "newest.setdefault(", "newest.__setitem__(", RETENTION),
    Mutant(
        f"{BACKUP}/ownership.py",
        "label in self._owner.labels and label not in self._claimed",
        "label in self._owner.labels",
        RETENTION,
    ),
    # Migrations.
    Mutant(
        MIGRATE, "            raise problem\n        found", "            pass\n        found", MIGRATIONS
    ),
)


def main(words: list[str]) -> int:
    """Run the faults; return the exit code."""
    chosen = [each for each in MUTANTS if any(word in f"{each.path} {each.text}" for word in words or [""])]
    survivors = []
    with tempfile.TemporaryDirectory(prefix="taskdb-mutants-") as directory:
        place = Path(directory) / "taskdb"
        for name in ("taskdb_cli", "migrations", "tests", "pyproject.toml", "alembic.ini", "README.md"):
            source = PROJECT / name
            if source.is_dir():
                shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, place / name)
        for number, mutant in enumerate(chosen, start=1):
            begun = time.monotonic()
            caught = _is_caught(place, mutant)
            if not caught:
                survivors.append(mutant)
            verdict = f"{'caught' if caught else 'SURVIVED'} in {time.monotonic() - begun:.0f} s"
            print(f"{number}/{len(chosen)} {verdict}: {_in_words(mutant)}", flush=True)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} faults caught")
    for mutant in survivors:
        print(f"survived: {_in_words(mutant)}")
    return 1 if survivors else 0


def _in_words(mutant: Mutant) -> str:
    before, after = (" ".join(text.split()) for text in (mutant.text, mutant.instead))
    return f"{mutant.path}: {before!r} -> {after!r}"


def _is_caught(place: Path, mutant: Mutant) -> bool:
    file = place / mutant.path
    whole = file.read_text()
    if whole.count(mutant.text) != 1:
        print(f"the text stands {whole.count(mutant.text)} times: {_in_words(mutant)}", file=sys.stderr)
        raise SystemExit(2)
    file.write_text(whole.replace(mutant.text, mutant.instead))
    command = [sys.executable, "-m", "pytest", "-qx", "-n0", "-p", "no:cacheprovider", *mutant.tests.split()]
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, timeout=PATIENCE, check=False, text=True
        )
        if done.returncode not in (0, 1):
            print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
            raise SystemExit(2)
        return done.returncode == 1
    except subprocess.TimeoutExpired:
        return True
    finally:
        file.write_text(whole)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
