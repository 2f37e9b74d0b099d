"""Files that taskdb is told to write: nothing that is not its own is written to, renamed or replaced."""

import logging
import os
import socket
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from taskdb_cli import logging as logs
from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.system import logfile
from tests.processes import command, run_process
from tests.samples import add_user, emails, titles

OLD_LINES = {
    "text": "2026-11-22T17:20:06.331Z INFO taskdb.connect [5d0cbf7e] /d.sqlite3: connected in 4 ms\n",
    "json": '{"time": "2026-11-22T17:20:06.331Z", "level": "info", "logger": "uvicorn", "message": "up"}\n',
    "cut": '{"time": "2026-11-22T17:20:06.331Z", "level": "warning", "logger": "taskdb.sql", "mess',
}
"""How a log of taskdb 0.1.0 may begin."""


@pytest.fixture
def engine():
    """What is done with files is the same on each engine, and here the database is a file as well."""
    return "sqlite"


@pytest.fixture(autouse=True)
def quiet_afterwards():
    """No handler of one test is left for the next."""
    yield
    logs.reset()


@pytest.fixture
def small(monkeypatch):
    """A log file is full after the first lines."""
    monkeypatch.setattr(logfile, "LARGEST", 100)


@pytest.fixture
def database_path(url):
    return Path(url.database)


def snapshot(directory):
    """Everything in a directory: names, kinds, inodes, modes, contents."""
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else ""
        found[path] = (status.st_ino, status.st_mode, content)
    return found


def make_null(directory):
    """Return a device that no fault can replace for others: one of its own, or one of root's."""
    try:
        os.mknod(directory / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        (directory / "null").write_text("")
    except PermissionError:
        return Path("/dev/null")
    return directory / "null"


def make_link(place, database):
    place.symlink_to(database)


def make_hard_link(place, database):
    place.hardlink_to(database)


def make_chain(place, database):
    place.with_name("between").symlink_to(database)
    place.symlink_to("between")


def content(data):
    """Makes a file that holds these bytes."""
    return lambda place, _: place.write_bytes(data)


FOREIGN = {
    "link": make_link,
    "hard link": make_hard_link,
    "links": make_chain,
    "text": content(b"root:x:0:0::/root:/bin/bash\n"),
    "archive": content(b"PK\3\4" + bytes(200)),
    "record": content(b'{\n  "version": 2,\n  "proofs": []\n}\n'),
    "dotenv file": content(b"TASKDB_SCHEMA=x\n"),
    "metrics": content(b"# HELP taskdb_backup_size_bytes The size of its archive.\n"),
    "other log": content(b"2026-11-22 17:20:06,331 INFO root: started\n"),
    "other JSON": content(b'{"time": "2026-11-22T17:20:06.331Z", "msg": "started"}\n'),
    "blank line": content(f"\n{OLD_LINES['text']}".encode()),
    "byte": content(b"x"),
    "zeros": content(bytes(1000)),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.usefixtures("small")
def test_a_file_of_another_purpose_is_no_log(taskdb, database_path, tmp_path, monkeypatch, kind):
    """A log file that holds anything but a log of ours is refused: 2, and each file is as it was."""
    taskdb("user", "list")
    place = tmp_path / "place"
    FOREIGN[kind](place, database_path)
    before = snapshot(tmp_path)
    err = taskdb("--log-file", place, "user", "list", expect=ExitCode.USAGE).err
    assert f"log file {place}" in err
    assert err.count("\n") == 1
    taskdb("--log-file", "../place", "-v", "user", "bogus", expect=ExitCode.USAGE)
    monkeypatch.setenv("TASKDB_LOG_FILE", str(place))
    taskdb("user", "list", expect=ExitCode.USAGE)
    taskdb("serve", "--port", "0", expect=ExitCode.USAGE)
    taskdb("bogus", expect=ExitCode.USAGE)
    assert snapshot(tmp_path) == before


@pytest.mark.usefixtures("small")
def test_a_database_is_no_log(taskdb, database_path, tmp_path, monkeypatch):
    """The database itself is refused as a log file, however its path is spelled and wherever it is set."""
    taskdb("user", "list")
    monkeypatch.chdir(tmp_path)
    before = snapshot(tmp_path)
    name = database_path.name
    for spelling in (database_path, name, f"./{name}", f"cwd/../{name}", f"//{database_path}"):
        taskdb("--log-file", spelling, "user", "list", expect=ExitCode.USAGE)
    monkeypatch.setenv("TASKDB_LOG_FILE", name)
    taskdb("backup", "--dir", "shelf", expect=ExitCode.USAGE)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("ending", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("setting", ["--log-file", "TASKDB_LOG_FILE", ".env"])
def test_a_database_that_is_to_be_made_is_no_log(bare_taskdb, tmp_path, monkeypatch, setting, ending):
    """A log is not begun where the database or a file of SQLite's own is to be, which is missing or empty."""
    path, words = tmp_path / "new.sqlite3", []
    place = path.with_name(path.name + ending)
    if setting == ".env":
        Path(".env").write_text(f"TASKDB_LOG_FILE={place}\n")
    elif setting == "--log-file":
        words = ["--log-file", place]
    else:
        monkeypatch.setenv(setting, str(place))
    for _ in range(2):
        before = snapshot(tmp_path)
        options = [*words, "-v", "--database-url", f"sqlite:///{path}"]
        assert "database" in bare_taskdb(*options, "migrate", expect=ExitCode.USAGE).err
        assert snapshot(tmp_path) == before
        place.touch()


@pytest.mark.parametrize("ending", ["-wal", "-shm", "-journal"])
def test_sqlites_own_files_are_not_written(taskdb, database_path, tmp_path, ending):
    """SQLite would delete or overwrite a file of such a name beside a database, so nothing is made there."""
    other = tmp_path / "other.db"
    sqlite3.connect(other).execute("CREATE TABLE t (x)").connection.close()
    for beside in (other, database_path):
        place = f"{beside}{ending}"
        taskdb("--log-file", place, "user", "list", expect=ExitCode.USAGE)
        taskdb("backup", "--file", place, expect=ExitCode.USAGE)
        taskdb("backup", "--dir", tmp_path / "shelf", "--metrics-file", place, expect=ExitCode.INCOMPLETE)
        assert not Path(place).exists()
    taskdb("--log-file", tmp_path / f"taskdb{ending}", "user", "list")


@pytest.mark.parametrize("name", [".env", "work.taskdb.json", ".work.lock", ".work.taskdb.json+.lock"])
def test_names_of_another_purpose_are_not_taken(taskdb, tmp_path, name):
    """No file is made that would be read as settings, as a record of backups or as a lock of theirs."""
    shelf = tmp_path / "shelf"
    taskdb("backup", "--dir", shelf)
    place, link = shelf / name, tmp_path / "link"
    link.symlink_to(place)
    for path in (place, link):
        taskdb("--log-file", path, "user", "list", expect=ExitCode.USAGE)
        taskdb("backup", "--dir", shelf, "--metrics-file", path, expect=ExitCode.INCOMPLETE)
    taskdb("backup", "--file", place, expect=ExitCode.USAGE)
    assert not place.exists()


@pytest.mark.parametrize("beginning", OLD_LINES)
def test_logs_of_earlier_versions_are_continued(taskdb, tmp_path, beginning):
    """A log that taskdb 0.1.0 began is written to, in either format, and so is an empty file."""
    log = tmp_path / "taskdb.log"
    log.write_text(OLD_LINES[beginning])
    for format in ("text", "json"):
        taskdb("--log-file", log, "--log-format", format, "user", "list")
    assert log.read_text().startswith(OLD_LINES[beginning])
    assert log.read_text().count("taskdb user list: ok") == 2
    log.write_text("")
    taskdb("--log-file", log, "user", "list")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("format", ["text", "json"])
def test_what_is_written_is_known_again(taskdb, tmp_path, format):
    """Each log that a rotation began is accepted by the next run, and so are the old ones."""
    log = tmp_path / "taskdb.log"
    for _ in range(4):
        taskdb("-vv", "--log-file", log, "--log-format", format, "user", "list")
    for file in tmp_path.glob("taskdb.log*"):
        taskdb("--log-file", file, "user", "list")


@pytest.mark.usefixtures("small")
def test_the_link_to_a_log_stays(taskdb, tmp_path):
    """Behind a symbolic link the file is rotated where it is, also one that was missing; the link stays."""
    logs_at = tmp_path / "logs"
    logs_at.mkdir()
    link = tmp_path / "link"
    link.symlink_to("logs/taskdb.log")
    for _ in range(3):
        taskdb("--log-file", link, "user", "list")
    assert link.readlink() == Path("logs/taskdb.log")
    assert {"taskdb.log", "taskdb.log.1", "taskdb.log.2"} <= {path.name for path in logs_at.iterdir()}
    assert [path.name for path in tmp_path.glob("link*")] == ["link"]


def make_directory(place, _):
    place.mkdir()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("kind", "number"), [("link", 1), ("hard link", 5), ("text", 5), ("archive", 1), ("directory", 1)]
)
def test_rotation_replaces_no_file_of_others(taskdb, database_path, tmp_path, number, kind):
    """Where an old log would go stands a file of others: it stays, the log grows, and one warning says so."""
    taskdb("user", "list")
    log, place = tmp_path / "taskdb.log", tmp_path / f"taskdb.log.{number}"
    {**FOREIGN, "directory": make_directory}[kind](place, database_path)
    before = snapshot(tmp_path)
    for _ in range(2):
        err = taskdb("--log-file", log, "user", "list").err
    assert err.count("\n") == 1
    assert str(place) in err
    assert log.read_text().count("taskdb user list: ok") == 2
    after = snapshot(tmp_path)
    del after[log]
    assert after == before


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("in_place", [False, True])
def test_a_log_that_was_replaced_meanwhile_is_left_alone(tmp_path, capsys, in_place):
    """A running process writes nothing to the file that another program has put in place of its log."""
    log = tmp_path / "taskdb.log"
    logs.configure(-1, run="0" * 8, file=log)
    logger = logging.getLogger("taskdb.test")
    logger.info("first")
    if not in_place:
        log.unlink()
    log.write_bytes(b"SQLite format 3\0" + bytes(200))
    before = snapshot(tmp_path)
    for _ in range(3):
        logger.info("second")
    assert snapshot(tmp_path) == before
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.usefixtures("small")
def test_no_device_or_pipe_is_rotated(taskdb, tmp_path):
    """A device, and a pipe that is read, get the lines and stay what they are; so do links to them."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    null = make_null(tmp_path)
    (tmp_path / "link to null").symlink_to(null)
    before = snapshot(tmp_path)
    for place in (pipe, link):
        taskdb("-v", "--log-file", place, "user", "list")
        assert b"taskdb user list: ok" in os.read(reader, 100_000)
    for place in (null, tmp_path / "link to null"):
        taskdb("-vv", "--log-file", place, "user", "list")
    os.close(reader)
    assert snapshot(tmp_path) == before


def test_no_place_that_takes_no_lines_is_a_log(taskdb, tmp_path):
    """A directory, a socket, a pipe without a reader and a loop of links are refused: 2."""
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket"))
        before = snapshot(tmp_path)
        for name in ("directory", "pipe", "loop", "socket", "pipe/file", "missing/file"):
            taskdb("--log-file", tmp_path / name, "user", "list", expect=ExitCode.USAGE)
        assert snapshot(tmp_path) == before


def test_no_block_device_is_a_log(taskdb, tmp_path):
    """A disk is refused: 2."""
    try:
        # There is no disk of this number.
        os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(240, 200))
    except PermissionError:
        pytest.skip("only root may make a device")
    result = taskdb("--log-file", tmp_path / "disk", "user", "list", expect=ExitCode.USAGE)
    assert "block device" in result.err


TALKER = """
import logging, sys
from pathlib import Path
from taskdb_cli import logging as logs
from taskdb_cli.system import logfile
logfile.LARGEST = 100
logs.configure(-1, run="0" * 8, file=Path(sys.argv[1]))
for number in range(5):
    print("printed", number, flush=True)
    logging.getLogger("taskdb.test").info("logged %d", number)
logs.reset()
"""


@pytest.mark.parametrize(
    ("place", "mode"), [("/proc/self/fd/1", "a"), ("/dev/fd/1", "w"), ("links", "a"), ("links", "w")]
)
def test_a_log_on_stdout_is_written_in_place(tmp_path, place, mode):
    """A file that stdout leads to is not rotated, and keeps both what was printed and what was logged."""
    # As /dev/stdout is, which a fault would replace for all programs.
    (tmp_path / "link").symlink_to("/proc/self/fd/1")
    (tmp_path / "links").symlink_to("link")
    output = tmp_path / "output"
    output.write_text("before\n")
    with output.open(mode) as stdout:
        command = [sys.executable, "-c", TALKER, tmp_path / place]
        subprocess.run(command, stdout=stdout, check=True, timeout=60)
    lines = output.read_text().splitlines()
    assert [line.split()[-2:] for line in lines if line != "before"] == [
        [verb, str(number)] for number in range(5) for verb in ("printed", "logged")
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "links", "output"]


def test_a_closed_stdout_is_no_log(database_path, isolated):
    """/dev/stdout is refused if it is closed, because the next file to be opened would get its number."""
    words = ("--database-url", f"sqlite:///{database_path}", "--log-file", "/proc/self/fd/1")
    assert run_process(*words, "migrate", first="os.close(1)").returncode == ExitCode.USAGE


@pytest.mark.parametrize("kind", sorted(set(FOREIGN) - {"metrics"}))
def test_a_file_of_another_purpose_gets_no_metrics(taskdb, database_path, tmp_path, kind):
    """Metrics replace nothing but metrics: the backup is there, exit 8 says why they are not."""
    place, shelf = tmp_path / "place", tmp_path / "shelf"
    FOREIGN[kind](place, database_path)
    before = place.lstat().st_ino, place.read_bytes()
    words = ("backup", "--dir", shelf, "--metrics-file", place)
    err = taskdb(*words, expect=ExitCode.INCOMPLETE).err
    assert f"{place} is not a metrics file" in err
    assert (place.lstat().st_ino, place.read_bytes()) == before
    assert len(list(shelf.glob("*.zip"))) == 1


def test_metrics_replace_metrics(taskdb, tmp_path):
    """An empty file and the metrics of an earlier backup are replaced; of a link, what it leads to."""
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to("target")
    target.touch()
    for _ in range(2):
        taskdb("backup", "--dir", tmp_path / "shelf", "--metrics-file", link)
        assert target.read_text().startswith("# HELP taskdb_backup_")
        assert target.stat().st_mode & 0o777 == 0o644
    assert link.readlink() == Path("target")


def test_metrics_replace_no_device(taskdb, tmp_path):
    """A device, a pipe, a directory, stdout and links to them stay what they are: exit 8."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    null = make_null(tmp_path)
    for number, target in enumerate((null, "pipe", "/proc/self/fd/1", "link3")):
        (tmp_path / f"link{number}").symlink_to(target)
    before = snapshot(tmp_path)
    for name in (null, "pipe", "directory", "link0", "link1", "link2", "link3"):
        words = ("backup", "--dir", tmp_path.parent / "shelf", "--metrics-file", tmp_path / name)
        taskdb(*words, expect=ExitCode.INCOMPLETE)
    assert snapshot(tmp_path) == before


def test_metrics_do_not_replace_the_file_under_stdout(tmp_path, database_path, isolated):
    """A link as /dev/stdout is stays, and so does the file that stdout leads to."""
    output, link = tmp_path / "output", tmp_path / "link"
    link.symlink_to("/proc/self/fd/1")
    with output.open("w") as stdout:
        number = output.stat().st_ino
        words = ("backup", "--dir", tmp_path / "shelf", "--metrics-file", link)
        done = run_process("--database-url", f"sqlite:///{database_path}", *words, stdout=stdout)
    assert done.returncode == ExitCode.INCOMPLETE
    assert output.stat().st_ino == number
    assert link.readlink() == Path("/proc/self/fd/1")


@pytest.mark.parametrize("kind", [*FOREIGN, "directory", "pipe", "broken link", "device", "stdout"])
def test_an_archive_replaces_nothing(taskdb, database_path, tmp_path, kind):
    """--file makes a new file and touches none that is there, whatever it is."""
    taskdb("user", "list")
    place = tmp_path / "place"
    make = FOREIGN | {
        "directory": make_directory,
        "pipe": lambda place, _: os.mkfifo(place),
        "broken link": lambda place, _: place.symlink_to("nowhere"),
        "device": lambda place, _: place.symlink_to(make_null(tmp_path)),
        "stdout": lambda place, _: place.symlink_to("/proc/self/fd/1"),
    }
    make[kind](place, database_path)
    before = snapshot(tmp_path)
    code = ExitCode.USAGE if kind == "directory" else ExitCode.CONFLICT
    taskdb("backup", "--file", place, expect=code)
    assert snapshot(tmp_path) == before


def test_an_archive_and_a_log_do_not_mix(database_path, tmp_path, isolated):
    """An archive on stdout is refused if the log goes there too, because it could not be read."""
    words = ("--database-url", f"sqlite:///{database_path}", "--log-file", "/dev/stdout")
    assert run_process(*words, "backup", "--file", "-").returncode == ExitCode.USAGE


@pytest.mark.parametrize("setting", ["--log-file", "TASKDB_LOG_FILE"])
def test_a_name_that_is_too_long(taskdb, tmp_path, monkeypatch, setting):
    """A name that no file system takes is refused as other bad log files are: 2, and one line."""
    name = tmp_path / ("x" * 300)
    if setting.startswith("--"):
        result = taskdb(setting, name, "user", "list", expect=2)
    else:
        monkeypatch.setenv(setting, str(name))
        result = taskdb("user", "list", expect=2)
    assert "cannot be opened: File name too long" in result.err
    assert result.err.count("\n") == 1


def test_a_log_in_a_directory_that_is_gone(taskdb, tmp_path, monkeypatch):
    """A relative log file is refused with one line if the working directory does not exist any more."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setenv("TASKDB_LOG_FILE", "taskdb.log")
    result = taskdb("user", "list", expect=2)
    assert "log file taskdb.log cannot be opened: No such file" in result.err
    assert result.err.count("\n") == 1
    monkeypatch.chdir(tmp_path)


def run_limited(*words):
    """Run taskdb where no file may become larger than a few kilobytes."""
    limited = ["sh", "-c", 'ulimit -f 8; trap "" XFSZ; exec "$@"', "sh", *command(*words)]
    return subprocess.run(limited, capture_output=True, text=True, check=False, timeout=60)


def test_a_sound_database_without_room_is_not_damaged(taskdb, database, database_path, tmp_path):
    """A restore does not put a database aside because the files beside it cannot grow."""
    add_user(database)
    archive = tmp_path / "one.taskdb.zip"
    taskdb("backup", "--file", archive)
    # So the -wal and -shm are there; the limit is below the size of the second.
    with sqlite3.connect(database_path) as holder:
        holder.execute("SELECT count(*) FROM users").fetchone()
        Path(f"{database_path}-shm").write_bytes(b"")
        done = run_limited("restore", archive, "--replace", "--yes")
    holder.close()
    assert done.returncode == 1
    assert "disk I/O error" in done.stderr
    assert "migrate" not in done.stderr
    assert "damaged" not in done.stderr
    assert emails(database) == ["ann@example.com"]


def test_an_import_without_room_for_its_temporary_file(taskdb, database, tmp_path):
    """An import says that its temporary file, and not the database, finds no room."""
    add_user(database)
    file = tmp_path / "tasks.csv"
    file.write_text("title\n" + "x" * 400 + "\n" + "".join(f"{number}\n" for number in range(3000)))
    done = run_limited("task", "import", file, "--user", "1")
    assert done.returncode == 1
    assert "a temporary file in " in done.stderr
    assert "TMPDIR" in done.stderr
    assert titles(database) == []
