"""taskdb backup, from the outside."""

import errno
import json
import os
import re
import zipfile
from pathlib import Path

import pytest

from taskdb_cli.exit_codes import ExitCode
from tests.backups import partial_name
from tests.conftest import TaskdbCommand
from tests.samples import add_task, add_user


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A directory of archives that nothing has made yet."""
    return tmp_path / "shelf"


@pytest.fixture
def backup(taskdb: TaskdbCommand, shelf: Path):
    """Runs a command about backups in that directory, on a database of which the label is work."""
    return lambda *words, **options: taskdb("backup", "--dir", shelf, "--label", "work", *words, **options)


@pytest.fixture
def filled(database) -> None:
    """One user with two tasks."""
    add_user(database)
    for title in ("Write", "Read"):
        add_task(database, title=title)


def archives(shelf: Path) -> list[Path]:
    return sorted(shelf.glob("*.taskdb.zip"))


def listed(backup) -> list[dict]:
    return json.loads(backup("list", "-o", "json").out)


def damage(archive: Path) -> None:
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)


def test_a_backup_is_one_file_that_is_listed_as_verified(backup, shelf, filled):
    """A backup leaves one archive, for its owner alone, and prints nothing where nobody looks."""
    result = backup()
    assert (result.out, result.err) == ("", "")
    [archive] = archives(shelf)
    assert re.fullmatch(r"work-\d{8}T\d{6}\.\d{6}Z\.taskdb\.zip", archive.name)
    assert archive.stat().st_mode & 0o777 == 0o600
    assert shelf.stat().st_mode & 0o777 == 0o700
    [record] = json.loads(backup("list", "-o", "json").out)
    assert (record["archive"], record["label"], record["size"]) == (
        archive.name,
        "work",
        archive.stat().st_size,
    )
    assert record["verified_at"] == record["taken_at"]
    assert record["drilled_at"] is None


def test_an_archive_holds_no_tokens(backup, shelf, filled, taskdb):
    """Neither the table of tokens nor one of its rows is in an archive, so a restore brings none back."""
    taskdb("token", "create", "--name", "dashboard")
    backup()
    [archive] = archives(shelf)
    with zipfile.ZipFile(archive) as members:
        assert not [name for name in members.namelist() if "token" in name]
    taskdb("token", "revoke", "dashboard")
    taskdb("restore", archive, "--replace", "--yes", "--no-safety-backup")
    assert json.loads(taskdb("token", "list", "-o", "json").out) == []


def test_a_backup_prints_its_record_where_a_format_is_asked_for(backup, shelf, filled):
    """With -o the archive's path and counts go to stdout, for a script."""
    record = json.loads(backup("-o", "json").out)
    assert Path(record["archive"]) == archives(shelf)[0]
    assert record["rows"] == 3


def test_an_archive_says_what_it_holds(backup, shelf, filled):
    """`show` gives the manifest; anybody can read it with an unzip too."""
    backup()
    shown = json.loads(backup("show", "latest", "-o", "json").out)
    held = {"users": 1, "tasks": 2, "taskdb_operations": 3, "taskdb_changes": 3}
    assert {table["name"]: table["rows"] for table in shown["tables"]} == held
    with zipfile.ZipFile(archives(shelf)[0]) as archive:
        assert json.loads(archive.read("manifest.json"))["tables"] == shown["tables"]
    rows = [line.split("\t") for line in backup("show", "latest").out.splitlines()]
    assert [row[:2] for row in rows] == [[name, str(number)] for name, number in held.items()]


def test_verify_finds_damage(backup, shelf, filled):
    """An archive of which a bit has changed is named as damaged, with exit 7; a good one passes."""
    backup()
    assert "3 rows verified" in backup("verify", "latest").err
    damage(archives(shelf)[0])
    result = backup("verify", "latest", expect=ExitCode.CORRUPT)
    assert re.fullmatch(r"error: .*\.taskdb\.zip is damaged: .*\n", result.err)


def test_verify_reads_every_archive_that_is_named(backup, taskdb, shelf, filled):
    """Several archives are verified in one run; a missing one is exit 3."""
    backup()
    backup()
    assert len(taskdb("backup", "verify", *archives(shelf)).err.splitlines()) == 2
    missing = taskdb("backup", "verify", "gone.taskdb.zip", "--dir", shelf, expect=ExitCode.NOT_FOUND)
    assert "gone.taskdb.zip" in missing.err


def test_a_drill_is_recorded(backup, shelf, filled):
    """`--drill` restores the archive for trial, and the list says when."""
    backup("--drill")
    [record] = json.loads(backup("list", "-o", "json").out)
    assert record["drilled_at"]
    backup()
    assert backup("verify", "latest", "--drill").err.endswith("test restore passed\n")
    assert [each["drilled_at"] is not None for each in json.loads(backup("list", "-o", "json").out)] == [
        True,
        True,
    ]


def test_a_drill_in_another_database_leaves_no_row(backup, new_url, taskdb, engine, filled):
    """`--drill-url` restores into a database without rows, and leaves it without rows."""
    target = new_url().render_as_string(hide_password=False)
    backup()
    backup("verify", "latest", "--drill-url", target)
    assert taskdb("--database-url", target, "user", "list", "--count", expect=None).out in ("0\n", "")
    assert taskdb("--database-url", target, "user", "list").out == ""


def test_a_drill_refuses_a_database_with_rows(backup, taskdb, url, use, filled):
    """What a drill is given to work in must hold nothing."""
    backup()
    result = backup(
        "verify", "latest", "--drill-url", url.render_as_string(hide_password=False), expect=ExitCode.CONFLICT
    )
    assert "1 user and 2 tasks" in result.err


def test_only_what_no_rule_keeps_is_deleted(backup, shelf, filled):
    """A backup with a policy thins the archives out afterwards; a dry run says why, and does nothing."""
    for _ in range(3):
        backup()
    kept = archives(shelf)[1:]
    policy = ("--keep-last", 2, "--keep-at-least", 1)
    rows = [line.split("\t") for line in backup("prune", *policy, "--dry-run").out.splitlines()]
    assert [row[3] for row in rows] == ["false", "true", "true"]
    assert rows[0][4] == "no rule keeps it"
    assert len(archives(shelf)) == 3
    backup("prune", *policy)
    assert archives(shelf) == kept
    backup(*policy)
    assert archives(shelf)[:-1] == kept[1:]


def test_a_label_without_archives_is_said(backup, shelf, filled):
    """Pruning what has no archive is no failure, and not silent."""
    backup()
    result = backup("prune", "--label", "wrok", "--keep-last", 1)
    assert (result.out, result.err.count("\n")) == ("", 1)
    assert f"{shelf} has no archive of wrok" in result.err
    missing = backup("list", "--dir", shelf / "missing")
    assert (missing.out, missing.err.count("\n")) == ("", 1)
    assert str(shelf / "missing") in missing.err


def test_damaged_archives_are_never_deleted(backup, shelf, filled):
    """An archive that cannot be verified stays, counts for nothing, and is named."""
    backup()
    damage(archives(shelf)[0])
    backup()
    backup()
    out = backup("prune", "--keep-last", 1, "--keep-at-least", 1).out
    assert "damaged" in out.splitlines()[0]
    assert len(archives(shelf)) == 2


def test_damage_that_was_found_is_remembered(backup, taskdb, shelf, filled, monkeypatch):
    """What `verify` found is told by list, prune and health, until the archive is verified again."""
    for _ in range(3):
        backup()
    first = archives(shelf)[0]
    good, times = first.read_bytes(), first.stat()
    damage(first)
    os.utime(first, ns=(times.st_atime_ns, times.st_mtime_ns))
    prune = ("prune", "--keep-last", 1, "--keep-at-least", 1, "--dry-run")
    assert "damaged" not in backup(*prune).out
    backup("verify", first, expect=ExitCode.CORRUPT)
    assert "damaged" in backup(*prune).out.splitlines()[0]
    assert str(first) in backup("list").err
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(shelf))
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", "work")
    assert first.name in taskdb("health", "--only", "backup_archive", expect=1).out
    first.write_bytes(good)
    backup("verify", first)
    assert backup("list").err == ""
    assert backup("prune", "--keep-last", 1, "--keep-at-least", 1, "--recheck", 0).err == ""
    assert len(archives(shelf)) == 1


def test_a_policy_that_keeps_nothing_is_refused(backup, shelf, filled):
    """Pruning without a rule, or with rules of zero, is exit 2 and deletes nothing."""
    backup()
    for words in ((), ("--keep-last", 0), ("--keep-at-least", 2)):
        assert "--keep-last" in backup("prune", *words, expect=ExitCode.USAGE).err
    assert len(archives(shelf)) == 1


def test_an_archive_goes_to_a_file_of_its_own(backup, taskdb, tmp_path, shelf, filled):
    """`--file` writes one verified archive to a new path, and never over another file."""
    path = tmp_path / "one.zip"
    taskdb("backup", "--file", path)
    assert taskdb("backup", "verify", path).err.startswith(f"{path}: 3 rows")
    before = path.read_bytes()
    assert "exists already" in taskdb("backup", "--file", path, expect=ExitCode.CONFLICT).err
    assert path.read_bytes() == before
    assert not shelf.exists()


def test_what_makes_no_sense_together_is_refused(backup, taskdb, shelf, filled):
    """One file by itself is not thinned out, drilled or told to a monitoring system."""
    for words in (("--keep-last", 1), ("--drill",), ("--metrics-file", "x.prom")):
        assert words[0][:6] in taskdb("backup", "--file", "x.zip", *words, expect=ExitCode.USAGE).err
    for label in ("", "../x", "a b"):
        if label:
            assert label in backup("--label", label, expect=ExitCode.USAGE).err


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_leftovers_of_killed_runs_are_swept(taskdb, tmp_path, filled, monkeypatch):
    """The next run that writes the same file removes what was left of it, wherever the file is."""
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(tmp_path / "shelf"))
    (tmp_path / "out").mkdir()
    for name in ("x.prom", "x.taskdb.zip", "y.prom"):
        (tmp_path / "out" / partial_name(name)).write_bytes(b"part")
    taskdb("backup", "--metrics-file", tmp_path / "out" / "x.prom")
    taskdb("backup", "--file", tmp_path / "out" / "x.taskdb.zip")
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == [partial_name("y.prom"), "x.prom", "x.taskdb.zip"]


def test_metrics_tell_of_the_last_backup(backup, tmp_path, filled):
    """The metrics file is what a textfile collector reads, for everybody to read."""
    path = tmp_path / "taskdb.prom"
    backup("--metrics-file", path, "--drill")
    text = path.read_text()
    assert 'taskdb_backup_rows{label="work",table="tasks"} 2.0\n' in text
    assert "taskdb_backup_last_success_timestamp_seconds" in text
    assert "taskdb_backup_last_drill_timestamp_seconds" in text
    assert path.stat().st_mode & 0o777 == 0o644


def test_what_follows_a_good_backup_may_fail(backup, tmp_path, shelf, filled):
    """A metrics file that cannot be written is exit 8, and the backup is there."""
    result = backup("--metrics-file", tmp_path / "missing" / "x.prom", expect=ExitCode.INCOMPLETE)
    assert "the backup is good, but" in result.err
    assert len(archives(shelf)) == 1


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize("kind", ["file", "pipe", "below a file"])
def test_a_directory_that_is_none(taskdb, tmp_path, filled, kind):
    """What is not a directory keeps no archives, and is told as such."""
    place = tmp_path / "place"
    os.mkfifo(place) if kind == "pipe" else place.touch()
    if kind == "below a file":
        place /= "deep"
    for arguments in ([], ["list"], ["prune", "--keep-last", "1"]):
        failed = taskdb("backup", *arguments, "--dir", place, expect=1)
        assert failed.err.count("\n") == 1
        assert "Not a directory" in failed.err


def test_the_configuration_is_shown_without_a_password(bare_taskdb, monkeypatch, tmp_path):
    """`--check-config` prints what would be used, hides the password and does nothing."""
    monkeypatch.setenv("TASKDB_DATABASE_URL", "postgresql://ann:secret@db.invalid/work")
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(tmp_path / "there"))
    result = bare_taskdb("backup", "--check-config", "--keep-daily", 7)
    assert "secret" not in result.out + result.err
    for words in ("db.invalid:5432/work", str(tmp_path / "there"), "label\twork", "7 daily"):
        assert words in result.out
    assert not (tmp_path / "there").exists()


def test_a_missing_database_is_no_empty_backup(bare_taskdb, monkeypatch, tmp_path):
    """A SQLite file that is not there is exit 3, and no archive is made."""
    monkeypatch.setenv("TASKDB_DATABASE_URL", f"sqlite:///{tmp_path}/none.sqlite3")
    assert "none.sqlite3" in bare_taskdb("backup", "--dir", tmp_path / "shelf", expect=ExitCode.NOT_FOUND).err
    assert not archives(tmp_path / "shelf")


def test_a_database_without_tables_is_no_empty_backup(bare_taskdb, use, empty_url, tmp_path, engine):
    """A database that no migration has touched is refused, and no archive is made."""
    use(empty_url)
    expected = ExitCode.NOT_FOUND if engine == "sqlite" else ExitCode.SCHEMA
    bare_taskdb("backup", "--dir", tmp_path / "shelf", expect=expected)
    assert not archives(tmp_path / "shelf")


def test_an_empty_directory_is_an_empty_list(backup):
    """Nothing to list is no error; nothing to show is exit 3 and names the directory."""
    assert backup("list").out == ""
    assert "shelf" in backup("show", "latest", expect=ExitCode.NOT_FOUND).err


def test_all_archives_are_verified_even_if_one_is_damaged(backup, taskdb, shelf, filled):
    """Each of several archives is looked at, and the exit code is that of the damaged one."""
    for _ in range(3):
        backup()
    first, second, third = archives(shelf)
    damage(first)
    result = taskdb("backup", "verify", first, second, "gone.zip", third, expect=ExitCode.CORRUPT)
    assert result.err.count("rows verified") == 2
    assert "2 of 4 archives did not pass" in result.err


def test_what_follows_a_backup_is_all_tried(backup, tmp_path, shelf, filled, monkeypatch):
    """A drill that finds no room is exit 8, and the metrics are written all the same."""

    def no_room(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere")

    monkeypatch.setattr("tempfile.mkdtemp", no_room)
    result = backup("--drill", "--metrics-file", tmp_path / "x.prom", expect=ExitCode.INCOMPLETE)
    assert "the backup is good, but /somewhere: No space left on device" in result.err
    assert "taskdb_backup_rows" in (tmp_path / "x.prom").read_text()


def test_options_that_a_subcommand_would_not_heed_are_refused(taskdb, shelf, filled):
    """An option of the backup itself before a subcommand is exit 2; the directory is heeded."""
    floor = ("--keep-at-least", 6, "prune", "--keep-last", 1)
    for words in (floor, ("--drill", "list"), ("--file", "x", "list")):
        assert words[0] in taskdb("backup", "--dir", shelf, *words, expect=ExitCode.USAGE).err
    taskdb("backup", "--dir", shelf)
    assert taskdb("backup", "--dir", shelf, "list").out.count("\n") == 1


def test_a_file_that_cannot_be_one_is_refused_at_once(taskdb, tmp_path, filled):
    """No name, a directory, the root, an address and what is nearly one are exit 2 for --file."""
    for name in ("", "/", tmp_path):
        assert "names no file" in taskdb("backup", "--file", name, expect=ExitCode.USAGE).err
    for name in ("s3://secret/x.zip", "az://secret/x.zip", "file:///secret/x.zip"):
        refused = taskdb("backup", "--file", name, expect=ExitCode.USAGE).err
        assert "--dir" in refused
        assert "secret" not in refused
    for name in ("s3:/bucket/x.zip", "az:container/x.zip"):
        assert "://" in taskdb("backup", "--file", name, expect=ExitCode.USAGE).err


def test_a_file_in_a_directory_that_is_missing(taskdb, tmp_path, filled):
    """It is exit 3, and nothing is made."""
    for place in (tmp_path / "none" / "x.zip", tmp_path / "none" / "deep" / "x.zip"):
        missing = taskdb("backup", "--file", place, expect=ExitCode.NOT_FOUND).err
        assert f"there is no directory {place.parent}" in missing
    (tmp_path / "plain").touch()
    taskdb("backup", "--file", tmp_path / "plain" / "x.zip", expect=ExitCode.USAGE)
    assert sorted(path.name for path in tmp_path.glob("*.zip")) == []
    assert not (tmp_path / "none").exists()


def test_a_file_prints_its_record_too(taskdb, tmp_path, filled):
    """-o goes with --file, but not with an archive on stdout."""
    assert json.loads(taskdb("backup", "--file", tmp_path / "one.zip", "-o", "json").out)["rows"] == 3
    taskdb("backup", "--file", "-", "-o", "json", expect=ExitCode.USAGE)


def test_a_good_archive_is_good_where_nothing_can_be_noted(backup, shelf, filled):
    """What cannot be recorded of an archive does not hide that it is good."""
    backup()
    (shelf / "work.taskdb.json").unlink()
    (shelf / "work.taskdb.json").mkdir()
    result = backup("verify", "latest", expect=ExitCode.INCOMPLETE)
    assert "3 rows verified" in result.err
