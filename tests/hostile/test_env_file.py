"""The .env that is found by walking up: what is refused, what is warned of, and how it is read."""

import os
import socket
from pathlib import Path

import pytest

from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.system import trusted

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")

SOMEBODY = 12345
"""The id of a user who is neither this one nor root."""

FOUND = ExitCode.NOT_FOUND
"""The exit code of a command that read the settings, because the database that they name is missing."""

pytestmark = pytest.mark.usefixtures("isolated")


@pytest.fixture
def env(tmp_path):
    """A dotenv file in the parent of the working directory."""
    path = tmp_path / ".env"
    write(path)
    return path


def write(path, text="TASKDB_DATABASE_URL=sqlite:////nowhere/canary.sqlite3\n"):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)


@pytest.fixture
def used(bare_taskdb):
    """Runs a command, sees that it used the database of the dotenv file, and returns its log."""

    def run(*options):
        err = bare_taskdb(*options, "user", "list", expect=FOUND).err
        *log, error = [line for line in err.splitlines() if "taskdb.command" not in line]
        assert "/nowhere/canary.sqlite3" in error
        return log

    return run


@pytest.fixture
def refused(bare_taskdb):
    """Runs a command, sees that it is refused in one line that names the file, and returns that."""

    def run(path, *options):
        err = bare_taskdb(*options, "user", "list", expect=ExitCode.USAGE).err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert str(path) in err
        return err

    return run


@as_root
def test_a_file_of_another_user_is_refused(env, used, refused):
    """A .env that somebody else owns is refused, and read without a warning if it is named."""
    os.chown(env, SOMEBODY, -1)
    assert str(SOMEBODY) in refused(env)
    assert used("--env-file", env) == []


@as_root
def test_a_link_of_another_user_is_refused(env, tmp_path, used, refused):
    """Both a link that somebody else made and a link to somebody else's file are refused."""
    link = tmp_path / "cwd" / ".env"
    link.symlink_to("../.env")
    assert used() == []
    os.chown(link, SOMEBODY, -1, follow_symlinks=False)
    refused(link)
    os.chown(link, 0, -1, follow_symlinks=False)
    os.chown(env, SOMEBODY, -1)
    refused(link)


@pytest.mark.parametrize("mode", [0o666, 0o602, 0o777])
def test_a_file_that_all_may_write_is_refused(env, used, refused, monkeypatch, mode):
    """A .env that everybody may write is refused; if it is named, it is read with a warning."""
    env.chmod(mode)
    assert "chmod" in refused(env)
    [warning] = used("--env-file", env)
    assert "WARNING" in warning
    monkeypatch.setenv("TASKDB_ENV_FILE", str(env))
    assert len(used()) == 1
    assert used("-q") == []


@pytest.mark.parametrize("mode", [0o660, 0o620, 0o664])
def test_a_file_that_a_group_may_write_is_warned_of(env, used, tmp_path, mode):
    """A .env that its group may write is read, with one warning on stderr and one in the log."""
    env.chmod(mode)
    log = tmp_path / "log"
    [warning] = used("--log-file", log)
    assert str(env) in warning
    assert log.read_text().count("WARNING") == 1
    assert used("-q") == []
    assert used("--env-file", env) == []
    env.chmod(0o644)
    assert used() == []


def test_a_directory_that_all_may_write_is_refused(env, tmp_path, used, refused):
    """Where everybody may replace the file it is refused, unless the directory is sticky as /tmp is."""
    target = tmp_path / "open"
    target.mkdir()
    env.rename(target / "settings")
    env.symlink_to("open/settings")
    for mode in (0o777, 0o1777):
        target.chmod(mode)
        if mode == 0o777:
            assert str(target) in refused(env)
        else:
            assert used() == []
    env.unlink()
    (target / "settings").rename(env)
    tmp_path.chmod(0o777)
    refused(env)
    tmp_path.chmod(0o700)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


def make_large(path):
    path.touch(0o600)
    os.truncate(path, 1_000_000_000)


ODD = {
    "pipe": os.mkfifo,
    "socket": make_socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "null": lambda path: path.symlink_to("/dev/null"),
    "broken link": lambda path: path.symlink_to("nowhere"),
    "loop": lambda path: path.symlink_to(".env"),
    "1 GB": make_large,
    "NUL": lambda path: write(path, b"A=b\0c\n"),
    "Latin": lambda path: write(path, b"A=\xe4\n"),
    "UTF-16": lambda path: write(path, "A=b\n".encode("utf-16")),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_text_file_is_refused(env, refused, kind):
    """A .env that is no regular file, too large, or no text is refused at once, and not passed over."""
    near = Path(".env")
    ODD[kind](near)
    refused(near.absolute())


def test_a_directory_is_passed_over(env, used):
    """A directory named .env, as some keep a virtual environment in, is not the file."""
    Path(".env").mkdir()
    assert used() == []


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfTASKDB_DATABASE_URL=sqlite:////nowhere/canary.sqlite3",
        b"A=1\r\nTASKDB_DATABASE_URL=sqlite:////nowhere/canary.sqlite3\r\n",
        b"A=1\rTASKDB_DATABASE_URL=sqlite:////nowhere/canary.sqlite3\r",
    ],
)
def test_files_of_other_systems_are_read(env, used, text):
    """A byte order mark and other ends of lines are no part of a name or a value."""
    write(env, text)
    assert used() == []


def test_a_line_that_is_not_understood_is_warned_of(env, used):
    """The rest of the file counts; the warning has the number of the line and nothing of its text."""
    write(env, f"A=1\nthis is s3cret\n{env.read_text()}")
    [warning] = used()
    assert "line 2" in warning
    assert "s3cret" not in warning
    assert used("-q") == []


def test_the_file_in_use_is_told(env, used, bare_taskdb, tmp_path):
    """With -v the log says which .env is used, or that none is."""
    assert str(env) in used("-v")[0]
    other = tmp_path / "other"
    env.rename(other)
    assert str(other) in used("-v", "--env-file", other)[0]
    assert "dotenv file: none" in bare_taskdb("-v", "user", "list", expect=FOUND).err


def test_a_pipe_that_was_named_is_not_waited_for_without_end(tmp_path, refused, monkeypatch):
    """A named pipe that nobody writes to is given up after a while; a device without an end is too long."""
    monkeypatch.setattr(trusted, "PATIENCE", 0.1)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    refused(pipe, "--env-file", pipe)
    refused("/dev/zero", "--env-file", "/dev/zero")


ADDRESSES = {
    "TASKDB_DATABASE_URL": {},
    "DATABASE_URL": {},
    "TASKDB_DIRECT_URL": {"TASKDB_DATABASE_URL": "postgresql://u@127.0.0.1:1/d"},
    "TASKDB_READ_URL": {"TASKDB_DATABASE_URL": "postgresql://u@127.0.0.1:1/d"},
    "DATABASE_URL_UNPOOLED": {"DATABASE_URL": "postgresql://u@127.0.0.1:1/d"},
}


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize("source", ["found", "named", "environment"])
def test_an_address_is_not_expanded(tmp_path, refused, monkeypatch, name, source):
    """An address with ${ is refused with that reason wherever it is set, and is not repeated."""
    monkeypatch.setenv("PASSWORD", "s3cret")
    settings = ADDRESSES[name] | {name: "postgresql://u:${PASSWORD}canary@127.0.0.1:1/d"}
    options = []
    if source == "environment":
        for variable, value in settings.items():
            monkeypatch.setenv(variable, value)
    else:
        path = tmp_path / (".env" if source == "found" else "settings")
        write(path, "".join(f"{variable}={value}\n" for variable, value in settings.items()))
        options = ["--env-file", path] if source == "named" else []
    err = refused(name, *options)
    assert source == "environment" or str(path) in err
    assert "${" in err
    assert "canary" not in err
    assert "s3cret" not in err


@pytest.mark.parametrize("name", ["TASKDB_SCHEMA", "TASKDB_BACKUP_DIR", "TASKDB_LOG_FILE"])
def test_no_setting_is_expanded(env, used, refused, monkeypatch, name):
    """A setting of the file with ${ is refused, unless the environment has another one."""
    write(env, f"{env.read_text()}{name}=${{HOME}}/x\n")
    err = refused(name)
    assert "${" in err
    assert str(env) in err
    assert not Path("${HOME}").exists()
    if name != "TASKDB_SCHEMA":
        monkeypatch.setenv(name, str(env.with_name("other")))
        assert used() == []


def test_variables_of_other_programs_are_left_alone(env, used, monkeypatch):
    """Variables that are not taskdb's may contain ${, and so may an address that is not used."""
    write(env, f"X=${{HOME}}\nDATABASE_URL=postgresql://${{X}}@h/d\nTASKDB_DIRECT_URL=\n{env.read_text()}")
    assert used() == []


def test_a_dollar_in_a_password_can_be_written(env, bare_taskdb):
    """A dollar alone is literal, and percent-encoded it may stand before a brace."""
    write(
        env,
        "TASKDB_CONNECT_TIMEOUT=1\nTASKDB_RETRY_BUDGET=0\nDATABASE_URL=postgresql://u:a$b%24{c}@127.0.0.1:1/d\n",
    )
    bare_taskdb("user", "list", expect=ExitCode.UNAVAILABLE)
