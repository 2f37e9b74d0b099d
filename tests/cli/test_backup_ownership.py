"""Whose archives are whose: databases of one name, copies, new databases, and archives of 0.1.0."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from taskdb_cli.backup import restore
from taskdb_cli.backup.archive import manifest_of
from taskdb_cli.backup.entry import Entry
from taskdb_cli.backup.file_names import label_of, parse_name
from taskdb_cli.backup.retention import Policy, decide
from taskdb_cli.backup.stores.places import file_at
from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.services import migrate
from tests.backups import OLD_ROWS, old_archive, old_record
from tests.conftest import SERVERS, connect, open_database
from tests.contents import fill, get_rows
from tests.samples import add_task, add_user, titles
from tests.schemas import execute, insert_rows

ENDS = pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
BACKUP_CHECKS = [
    word for check in ("backup", "backup_archive", "drill", "shrinkage") for word in ("--only", check)
]
HEALTHY = re.compile(r".*: 4 ok in .*|.*: 3 ok, 1 skipped in .*")
KEEP_ONE = ("--keep-last", 1, "--keep-at-least", 1)


@pytest.fixture
def shelf(isolated, tmp_path, monkeypatch):
    """The directory of archives that the settings name."""
    path = tmp_path / "shelf"
    path.mkdir()
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(path))
    return path


def text(url):
    return url.render_as_string(hide_password=False)


def identity_of(url):
    return execute(url, "SELECT identity FROM taskdb_identity")[0][0]


def make_anew(url):
    """Drop all tables of a database and make them again, as a new database has them."""
    database = open_database(url)
    migrate.downgrade(database, to="base")
    migrate.upgrade(database)


def archives(shelf, label=""):
    """The names of the archives of a label, oldest first."""
    found = [path.name for path in shelf.iterdir() if parse_name(path.name)]
    return sorted(
        (name for name in found if label in ("", parse_name(name)[0])), key=lambda name: parse_name(name)[1]
    )


@pytest.fixture
def upgraded(taskdb, url, shelf):
    """A database that 0.1.0 backed up for six nights, the last one being the night before; its old label."""
    database = open_database(url)
    restore.restore(database, file_at(OLD_ROWS))
    migrate.downgrade(database, to="0003")
    name = database.backend.name
    label = label_of(name)
    now = datetime.now(UTC)
    old = [old_archive(shelf, label, now - timedelta(days=days)) for days in (6, 5, 4, 3, 2, 0.9)]
    old_record(shelf, label, old)
    return label


def test_the_night_after_the_upgrade(taskdb, url, shelf, upgraded):
    """Before and after the migration health is ok, 'latest' works, and pruning goes on, without a word."""
    old = archives(shelf)
    assert taskdb("backup", "verify", "latest").err.startswith(f"{shelf / old[-1]}: 21 rows")
    taskdb("migrate")
    assert HEALTHY.search(taskdb("health", *BACKUP_CHECKS).out)
    [before] = [name for name in archives(shelf) if name not in old]
    result = taskdb("backup", "--keep-last", 4, "--keep-at-least", 1)
    assert (result.out, result.err) == ("", "")
    left = archives(shelf)
    assert left[:3] == [*old[-2:], before]
    assert len(left) == 4
    assert parse_name(left[-1])[0].startswith(f"{upgraded}-")
    assert manifest_of(file_at(shelf / left[-1])).origin.identity == identity_of(url)
    assert HEALTHY.search(taskdb("health", *BACKUP_CHECKS).out)
    result = taskdb("restore", "latest", "--replace", "--yes", "--no-safety-backup")
    assert left[-1] in result.err
    taskdb("backup", "prune", *KEEP_ONE)
    assert archives(shelf) == left[-1:]


@ENDS
def test_the_first_backup_after_the_upgrade_fails(taskdb, shelf, upgraded):
    """If the night's backup was missed, the last archive of 0.1.0 is still what one would restore."""
    taskdb("migrate", "--no-backup")
    assert HEALTHY.search(taskdb("health", *BACKUP_CHECKS).out)
    assert archives(shelf)[-1] in taskdb("restore", "latest", "--replace", "--yes", "--no-safety-backup").err


@ENDS
def test_an_old_label_that_was_chosen(taskdb, shelf, upgraded, monkeypatch):
    """Whoever names the label of 0.1.0 as their own goes on with its archives under that label."""
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", upgraded)
    taskdb("migrate")
    taskdb("backup", "--keep-last", 3)
    assert len(archives(shelf, upgraded)) == len(archives(shelf)) == 3
    assert HEALTHY.search(taskdb("health", *BACKUP_CHECKS).out)


@ENDS
def test_archives_of_0_1_0_that_may_be_several_databases(taskdb, new_url, shelf, upgraded):
    """If another database of that label keeps archives there too, those of 0.1.0 are nobody's: they stay."""
    taskdb("migrate", "--no-backup")
    old = archives(shelf)
    label = upgraded
    other = new_url()
    execute(other, f"UPDATE taskdb_identity SET identity = '{uuid.uuid4()}'")
    taskdb("--database-url", text(other), "backup", "--label", label)
    result = taskdb("backup", *KEEP_ONE)
    assert "kept 7 archives" in result.err
    taskdb("--database-url", text(other), "backup", "prune", "--label", label, *KEEP_ONE)
    assert set(old) < set(archives(shelf))
    assert taskdb("backup", "prune", *KEEP_ONE, "--dry-run").out.count("another database") == 7


@ENDS
def test_archives_of_0_1_0_beside_a_database_that_was_just_upgraded(taskdb, url, new_url, shelf, upgraded):
    """The backup before a migration says by its place that another database may have had the old label."""
    taskdb("migrate", "--no-backup")
    old = archives(shelf)
    other = new_url()
    migrate.downgrade(open_database(other), to="0003")
    taskdb("--database-url", text(other), "backup", "--label", upgraded)
    assert "kept 7 archives" in taskdb("backup", *KEEP_ONE).err
    assert set(old) < set(archives(shelf))


@ENDS
def test_a_rename(taskdb, url, shelf, monkeypatch):
    """Under a new label the history begins anew and the old one stays, which health and 'latest' say."""
    add_user(open_database(url))
    taskdb("backup")
    taskdb("backup")
    before = archives(shelf)
    [old] = {parse_name(name)[0] for name in before}
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", "prod")
    assert old in taskdb("health", "--only", "backup", expect=1).out
    assert old in taskdb("restore", "latest", "--replace", "--yes", expect=ExitCode.NOT_FOUND).err
    taskdb("backup", *KEEP_ONE)
    taskdb("backup", *KEEP_ONE)
    assert archives(shelf, old) == before
    [new] = archives(shelf, "prod")
    assert new in taskdb("restore", "latest", "--replace", "--yes", "--no-safety-backup").err
    assert "1 ok" in taskdb("health", "--only", "backup").out
    monkeypatch.delenv("TASKDB_BACKUP_LABEL")
    assert before[-1] in taskdb("backup", "verify", "latest").err
    taskdb("backup", "prune", *KEEP_ONE)
    assert archives(shelf) == [before[-1], new]


def test_a_downgrade_drops_the_identity(taskdb, url, shelf):
    """Archives from before a downgrade are told in one phrase, which says what may have happened."""
    add_user(open_database(url))
    taskdb("backup")
    taskdb("migrate", "down", "0002", "--yes")
    told = taskdb("health", "--only", "backup", "-o", "json", expect=1).out
    assert "2 archives of a database with another identity at " in told
    assert "downgraded" in told


def test_a_database_made_anew(taskdb, url, shelf):
    """A new database of the same name and place counts and deletes nothing of the old one's, and says so."""
    database = open_database(url)
    add_user(database)
    add_task(database, title="Old")
    for _ in range(3):
        taskdb("backup")
    old = archives(shelf)
    make_anew(url)
    add_user(database)
    add_task(database, title="New")
    found = taskdb("health", "--only", "backup", "--only", "shrinkage", "--only", "growth", expect=1).out
    assert "3 archives of a database with another identity" in found
    assert "another identity" in taskdb("restore", "latest", "--replace", "--yes", expect=3).err
    assert "kept 3 archives" in taskdb("backup", *KEEP_ONE).err
    taskdb("backup", *KEEP_ONE)
    assert archives(shelf)[:3] == old
    assert len(archives(shelf)) == 4
    # Two databases have archives of this label now, and the database says which are its own.
    taskdb("health", "--only", "backup", "--only", "backup_archive")
    taskdb("backup", "prune", *KEEP_ONE)
    assert archives(shelf)[:3] == old
    assert archives(shelf)[3] in taskdb("restore", "latest", "--replace", "--yes").err
    assert titles(database) == ["New"]
    identity = identity_of(url)
    refused = taskdb("restore", old[0], "--replace", "--yes", expect=ExitCode.CONFLICT)
    assert "another identity" in refused.err
    assert "--from-other-database" in refused.err
    assert refused.err.count("\n") == 1
    taskdb("restore", old[0], "--replace", "--yes", "--from-other-database", "--dry-run")
    taskdb("restore", old[0], "--replace", "--yes", "--from-other-database")
    assert titles(database) == ["Old"]
    assert identity_of(url) == identity


@pytest.fixture
def twins(make_url_of, tmp_path):
    """Makes two databases of one name on an engine: in two folders, or on two servers."""
    drops = []

    def make(engine):
        if engine == "sqlite":
            urls = []
            for folder in ("a", "b"):
                (tmp_path / folder).mkdir()
                made = make_url_of("sqlite")
                path = tmp_path / folder / "app.sqlite3"
                (tmp_path / made.database).rename(path)
                urls.append(made.set(database=str(path)))
            return urls
        first, server = make_url_of(SERVERS[-1]), make_url_of(SERVERS[0])
        second = server.set(database=first.database)
        with connect(server.set(database="postgres")) as connection:
            connection.execute(f'CREATE DATABASE "{first.database}" TEMPLATE "{server.database}"')
        drops.append(second)
        return [first, second]

    yield make
    for url in drops:
        with connect(url.set(database="postgres")) as connection:
            connection.execute(f'DROP DATABASE "{url.database}" WITH (FORCE)')


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
@pytest.mark.parametrize(
    ("label", "copies"), [(None, False), (None, True), ("work", False)], ids=["apart", "copies", "one label"]
)
def test_two_databases_of_one_name(bare_taskdb, twins, shelf, engine, label, copies, monkeypatch):  # noqa: PLR0917 (fixtures)
    """Nothing of the one is deleted, restored or counted for the other, even if it is a copy."""
    if engine == "postgresql" and len(SERVERS) == 1:
        pytest.skip("two databases of one name need two servers")
    urls = twins(engine)
    if label:
        monkeypatch.setenv("TASKDB_BACKUP_LABEL", label)
    for number, url in enumerate(urls):
        if not copies:
            execute(url, f"UPDATE taskdb_identity SET identity = '{uuid.uuid4()}'")
        add_user(open_database(url))
        add_task(open_database(url), title=f"of {number}")

    def taskdb(url, *words, **options):
        return bare_taskdb("--database-url", text(url), *words, **options)

    first, second = urls
    taskdb(first, "backup")
    assert "warning" in taskdb(second, "health", "--only", "backup", expect=1).out
    kept = {url: [] for url in urls}
    for _ in range(3):
        for url in urls:
            before = set(archives(shelf))
            taskdb(url, "backup", "--keep-last", 2, "--keep-at-least", 1)
            kept[url] = [*kept[url][-1:], *(set(archives(shelf)) - before)]
    assert set(archives(shelf)) == {*kept[first], *kept[second]}
    taskdb(first, "backup", "prune", *KEEP_ONE)
    assert set(archives(shelf)) == {kept[first][-1], *kept[second]}
    for number, url in enumerate(urls):
        assert "1 ok" in taskdb(url, "health", "--only", "backup").out
        execute(url, "DELETE FROM tasks")
        result = taskdb(url, "restore", "latest", "--replace", "--yes", "--no-safety-backup")
        assert kept[url][-1] in result.err
        assert titles(open_database(url)) == [f"of {number}"]
    if not copies:
        refused = taskdb(first, "restore", kept[second][-1], "--replace", "--yes", expect=ExitCode.CONFLICT)
        assert open_database(second).backend.place in refused.err


@ENDS
def test_a_new_server(bare_taskdb, url, new_url, shelf, monkeypatch):
    """A database without rows and archives becomes the one of the archive, and its pruning goes on."""
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", "work")
    add_user(open_database(url))
    for _ in range(4):
        bare_taskdb("--database-url", text(url), "backup", "--drill")
    identity = identity_of(url)
    for migrated in (True, False):
        target = new_url(migrated=migrated)
        if migrated:
            make_anew(target)
        here = ("--database-url", text(target))
        assert "would count as those of" in bare_taskdb(*here, "restore", "latest", "--dry-run").err
        assert "now count as those of" in bare_taskdb(*here, "restore", "latest").err
        assert identity_of(target) == identity
        assert HEALTHY.search(bare_taskdb(*here, "health", *BACKUP_CHECKS).out)
        bare_taskdb(*here, "backup", "--keep-last", 3)
        assert len(archives(shelf)) == 3


@ENDS
def test_latest_for_a_new_database(bare_taskdb, url, new_url, shelf):
    """Without a label it means the one database of which there are archives; of several, it asks (2)."""
    add_user(open_database(url))
    bare_taskdb("--database-url", text(url), "backup")
    target = ("--database-url", text(new_url(migrated=False)))
    assert archives(shelf)[0] in bare_taskdb(*target, "restore", "latest", "--dry-run").err
    bare_taskdb("--database-url", text(url), "backup", "--label", "other")
    asked = bare_taskdb(*target, "restore", "latest", expect=ExitCode.USAGE).err
    assert "other" in asked
    assert parse_name(archives(shelf)[0])[0] in asked
    bare_taskdb(*target, "restore", "latest", "--label", "other")


@ENDS
def test_copies_and_drills_take_no_identity(taskdb, url, new_url, shelf):
    """A copy is a database of its own, and so is what an archive was restored into for trial."""
    database = open_database(url)
    add_user(database)
    taskdb("backup")
    for migrated in (True, False):
        target = new_url(migrated=migrated)
        if migrated:
            make_anew(target)
            own = identity_of(target)
            taskdb("backup", "verify", "latest", "--drill-url", text(target))
        taskdb("copy", "--to", text(target))
        assert get_rows(target) == get_rows(url)
        assert identity_of(target) != identity_of(url)
        if migrated:
            assert identity_of(target) == own
    # Its rows are those of the archive, but it is another database.
    refused = taskdb(
        "--database-url", text(target), "restore", archives(shelf)[0], "--replace", "--yes", expect=4
    )
    assert "--from-other-database" in refused.err


@ENDS
def test_latest_is_verified_and_not_of_the_future(taskdb, url, shelf):
    """What is newer and damaged, dated in the future or another database's is passed over, in a line each."""
    insert_rows(url)
    for _ in range(4):
        taskdb("backup")
    good, flipped, cut, future = archives(shelf)
    later = re.sub(r"-2(\d{7}T)", r"-3\1", future)
    (shelf / future).rename(shelf / later)
    data = bytearray((shelf / flipped).read_bytes())
    data[len(data) // 4] ^= 1
    (shelf / flipped).write_bytes(data)
    (shelf / cut).write_bytes((shelf / cut).read_bytes()[:-100])
    for record in shelf.glob("*.taskdb.json"):
        record.unlink()
    found = taskdb("backup", "show", "latest", "-o", "json")
    assert json.loads(found.out)["archive"] == str(shelf / good)
    for name in (flipped, cut, later):
        assert len([line for line in found.err.splitlines() if name in line]) == 1, found.err
    assert f"{good} had not been verified" in found.err
    (shelf / good).unlink()
    assert "dated in the future" in taskdb("backup", "show", "latest", expect=ExitCode.CORRUPT).err
    (shelf / flipped).unlink()
    (shelf / cut).unlink()
    nothing = taskdb("restore", "latest", "--replace", "--yes", expect=ExitCode.NOT_FOUND)
    assert "dated in the future" in nothing.err
    assert nothing.err.count("\n") == 1


@ENDS
def test_a_bit_that_flipped_after_the_verification(taskdb, url, shelf):
    """The archive before it is restored, and 'verify' says that the last verified one is damaged."""
    fill(url)
    taskdb("backup")
    taskdb("backup")
    good, flipped = archives(shelf)
    data = bytearray((shelf / flipped).read_bytes())
    data[len(data) // 2] ^= 1
    (shelf / flipped).write_bytes(data)
    for words in [("backup", "show", "latest"), ("restore", "latest", "--replace", "--yes")]:
        found = taskdb(*words)
        assert found.err.count(flipped) == 1
        assert "skipped" in found.err
    assert f"from {shelf / good} into" in found.err
    assert flipped in taskdb("backup", "verify", "latest", expect=ExitCode.CORRUPT).err


@ENDS
def test_an_archive_that_is_not_the_one_that_was_verified(taskdb, url, shelf):
    """A file with another seal than was recorded is passed over, though it is whole in itself."""
    insert_rows(url)
    taskdb("backup")
    taskdb("backup")
    old, new = archives(shelf)
    (shelf / new).write_bytes((shelf / old).read_bytes())
    assert "not the file that was verified" in taskdb("backup", "verify", "latest").err


@ENDS
def test_a_file_whose_manifest_cannot_be_read_is_nobodys(taskdb, url, shelf):
    """It is kept, and said, by backup, prune and list."""
    for _ in range(3):
        taskdb("backup")
    first = archives(shelf)[0]
    (shelf / first).write_bytes(b"nothing")
    assert f"kept 1 archive besides, to which no rule applies: {first}" in taskdb("backup", *KEEP_ONE).err
    assert first in taskdb("backup", "prune", *KEEP_ONE).out
    assert first in taskdb("backup", "list").err
    assert archives(shelf)[0] == first
    assert len(archives(shelf)) == 2


@ENDS
def test_all_that_was_verified_is_listed_with_its_database(taskdb, url, shelf):
    """The list says of each archive when it was verified and drilled, and which database it is of."""
    for _ in range(4):
        taskdb("backup", "--drill")
    records = json.loads(taskdb("backup", "list", "-o", "json").out)
    assert [bool(each["verified_at"] and each["drilled_at"]) for each in records] == [True] * 4
    assert {each["identity"] for each in records} == {identity_of(url)}
    assert {each["place"] for each in records} == {open_database(url).backend.place}
    assert list(json.loads(taskdb("backup", "show", "latest", "-o", "json").out))[-3:] == [
        "identity",
        "place",
        "encrypted",
    ]


SOAK = os.environ.get("TASKDB_SOAK") == "1"
NIGHTS = 60 if SOAK else 2
FAKETIME = shutil.which("faketime")
POLICY = Policy(daily=7, weekly=4, monthly=2)
RULES = ("--keep-daily", 7, "--keep-weekly", 4, "--keep-monthly", 2)
KINDS = [("postgresql", "work"), ("postgresql", None), ("sqlite", "work"), ("sqlite", None)]


def run_at(at, url, *words):
    """Run taskdb on a database as if it were that time."""
    command = [FAKETIME, f"{at:%Y-%m-%d %H:%M:%S}", sys.executable, "-m", "taskdb_cli"]
    command += ["--database-url", text(url), *map(str, words)]
    done = subprocess.run(command, text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done
    return done


def archives_of(shelf, url):
    """The names of the archives that carry the identity of a database."""
    identity = identity_of(url)
    return {
        name for name in archives(shelf) if manifest_of(file_at(shelf / name)).origin.identity == identity
    }


@pytest.mark.soak
@pytest.mark.skipif(FAKETIME is None and os.environ.get("CI") != "true", reason="faketime is not installed")
@pytest.mark.parametrize(("engine", "label"), KINDS if SOAK else KINDS[:1])
def test_many_nights(twins, shelf, engine, label, monkeypatch):
    """Night after night each of two databases of one name keeps just what it would keep if it were alone."""
    if engine == "postgresql" and len(SERVERS) == 1:
        pytest.skip("two databases of one name need two servers")
    if label:
        monkeypatch.setenv("TASKDB_BACKUP_LABEL", label)
    taken = {url: set() for url in twins(engine)}
    for number, url in enumerate(taken):
        execute(url, f"UPDATE taskdb_identity SET identity = '{uuid.uuid4()}'")
        add_user(open_database(url))
        add_task(open_database(url), title=f"of {number}")
    for night in range(NIGHTS):
        now = datetime(2026, 12, 1, 3, tzinfo=UTC) + timedelta(days=night)
        for url in taken:
            run_at(now, url, "backup", *RULES, *(("--drill",) if night % 7 == 0 else ()))
            taken[url] |= archives_of(shelf, url)
    now += timedelta(hours=1)
    for number, (url, names) in enumerate(taken.items()):
        assert len(names) == NIGHTS
        entries = [Entry(shelf / name, *parse_name(name), 1) for name in names]
        kept = decide(entries, POLICY, now, lambda _: None)
        assert archives_of(shelf, url) == {each.entry.name for each in kept if each.keep}
        assert HEALTHY.search(run_at(now, url, "health", *BACKUP_CHECKS).stdout)
        execute(url, "DELETE FROM tasks")
        restored = run_at(now, url, "restore", "latest", "--replace", "--yes", "--no-safety-backup")
        assert max(names) in restored.stderr
        assert titles(open_database(url)) == [f"of {number}"]


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize("position", [0, 100, 4096])
def test_latest_over_a_damaged_file(taskdb, url, shelf, position):
    """A file that cannot say which database it was is that of its label again, with its identity."""
    insert_rows(url)
    taskdb("backup")
    identity = identity_of(url)
    with Path(url.database).open("r+b") as file:
        file.seek(position)
        file.write(os.urandom(4096 * 3))
    assert "restored 1 user" in taskdb("restore", "latest", "--replace", "--yes").err
    assert identity_of(url) == identity
    taskdb("backup", *KEEP_ONE)
    assert len(archives(shelf)) == 1


@pytest.mark.parametrize("engine", SERVERS[-1:], indirect=True)
def test_latest_while_the_server_is_gone(taskdb, url, shelf, monkeypatch):
    """An archive can be looked at by the label alone; nothing is deleted or restored on such a guess."""
    insert_rows(url)
    taskdb("backup", "--label", "work")
    taskdb("backup", "--label", "work")
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", "work")
    monkeypatch.setenv("TASKDB_DATABASE_URL", f"postgresql://127.0.0.1:1/{url.database}")
    monkeypatch.setenv("TASKDB_RETRY_BUDGET", "0")
    for verb in ("show", "verify"):
        assert "by the label" in taskdb("backup", verb, "latest").err
    assert "1 ok" in taskdb("health", "--only", "backup").out
    for words in (("backup", "prune", *KEEP_ONE), ("restore", "latest", "--replace", "--yes")):
        assert taskdb(*words, expect=ExitCode.UNAVAILABLE).err.count("\n") == 1
    assert len(archives(shelf)) == 2
