"""Backups that are encrypted: with and without the key, on this machine and on a new one."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pyrage
import pytest

from taskdb_cli.exit_codes import ExitCode
from tests.backups import run_python
from tests.conftest import SERVERS
from tests.contents import fill, get_rows
from tests.processes import command

ENDS = pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
MAGIC = b"age-encryption.org/v1\n"
USAGE = ExitCode.USAGE


class Key:
    """A key pair of age, whose secret half is in a file."""

    def __init__(self, path: Path) -> None:
        identity = pyrage.x25519.Identity.generate()
        self.public, self.secret, self.path = str(identity.to_public()), str(identity), path
        path.write_text(f"# created by a test\n{self.secret}\n")
        path.chmod(0o600)


@pytest.fixture
def keys(tmp_path):
    """Two key pairs, in files outside of every place that taskdb writes to."""
    return [Key(tmp_path / f"key-{number}.txt") for number in (1, 2)]


@pytest.fixture
def shelf(isolated, tmp_path, monkeypatch):
    """The directory of archives that the settings name, and a directory for temporary files."""
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(tmp_path / "shelf"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "shelf"


@pytest.fixture
def filled(url):
    """A database with rows of every kind."""
    fill(url)
    return url


def text(url):
    return url.render_as_string(hide_password=False)


def archives(shelf):
    """The archives, oldest first; each must be encrypted."""
    found = sorted(shelf.glob("*.taskdb.zip*"), key=lambda path: path.name[-40:])
    assert all(path.name.endswith(".age") and path.read_bytes().startswith(MAGIC) for path in found)
    return found


def listed(taskdb):
    return json.loads(taskdb("backup", "list", "-o", "json").out)


@ENDS
def test_rows_come_back_on_either_engine(taskdb, filled, shelf, keys, tmp_path):
    """Encrypted archives carry the rows to SQLite and back, and what they replace is saved encrypted."""
    key, before = keys[0], get_rows(filled)
    taskdb("backup", "--encrypt-to", key.public, "--drill", "--identity", key.path)
    [record] = listed(taskdb)
    assert record["archive"].endswith(".taskdb.zip.age")
    assert None not in [record[name] for name in ("identity", "place", "verified_at", "drilled_at")]
    other = f"sqlite:///{tmp_path / 'other.sqlite3'}"
    taskdb("--database-url", other, "restore", shelf / record["archive"], "--identity", key.path)
    taskdb("--database-url", other, "backup", "--encrypt-to", key.public, "--label", "other")
    [carried] = shelf.glob("other-2*.age")
    words = ("--replace", "--yes", "--from-other-database", "--encrypt-to", keys[1].public)
    taskdb("restore", carried, "--identity", key.path, *words)
    assert get_rows(filled) == before
    assert len(archives(shelf)) == 3
    [saved] = shelf.glob("*-before-restore-*")
    taskdb("backup", "verify", saved, "--identity", key.path, expect=USAGE)
    taskdb("backup", "verify", saved, "--identity", keys[1].path)
    assert not [*Path(tempfile.gettempdir()).iterdir()]


@SQLITE_ONLY
def test_without_the_key_the_record_answers(taskdb, filled, shelf, keys, tmp_path):
    """List, show, verify, prune and health work by the record and the digest; what needs a key exits 2."""
    taskdb("backup", "--encrypt-to", keys[0].public, "--keep-last", 3)
    [path] = archives(shelf)
    for words in (["latest"], [path], ["today"]):
        shown = json.loads(taskdb("backup", "show", *words, "-o", "json").out)
        assert (shown["encrypted"], bool(shown["identity"]), shown["tool"]) == (True, True, None)
        assert {each["name"]: each["rows"] for each in shown["tables"]}.keys() >= {"users", "tasks"}
    assert "encrypted" in taskdb("backup", "show", "latest", "-o", "table").out
    before = listed(taskdb)[0]["verified_at"]
    assert "not decrypted" in taskdb("backup", "verify", "latest").err
    assert listed(taskdb)[0]["verified_at"] > before
    assert "digest" in taskdb("health", "--only", "backup_archive").out
    taskdb("backup", "prune", "--keep-last", 1)
    rows = get_rows(filled)
    for words in (
        ("backup", "verify", "latest", "--drill"),
        ("restore", "latest", "--replace", "--yes"),
        ("backup", "--drill", "--encrypt-to", keys[0].public),
        ("backup", "--drill", "--encrypt-to", keys[0].public, "--identity", keys[1].path),
        ("restore", "latest", "--replace", "--yes", "--identity", keys[1].path),
        ("restore", "latest", "--replace", "--yes", "--identity", tmp_path / "no such key"),
    ):
        assert "identity" in taskdb(*words, expect=USAGE).err
    assert get_rows(filled) == rows
    assert archives(shelf) == [path]
    taskdb("backup", "verify", "latest", "--drill", "--identity", keys[0].path)
    assert listed(taskdb)[0]["drilled_at"]


@SQLITE_ONLY
def test_damage_is_found_without_the_key(taskdb, filled, shelf, keys):
    """A flipped byte of an encrypted archive is exit 7 with and without its key, and critical in health."""
    taskdb("backup", "--encrypt-to", keys[0].public)
    [path] = archives(shelf)
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    taskdb("health", "--only", "backup_archive", expect=2)
    taskdb("backup", "verify", "latest", expect=ExitCode.CORRUPT)
    taskdb("backup", "verify", path, "--identity", keys[0].path, expect=ExitCode.CORRUPT)
    taskdb("backup", "show", path, expect=ExitCode.CORRUPT)
    taskdb("restore", "latest", "--replace", "--yes", "--identity", keys[0].path, expect=ExitCode.CORRUPT)


@SQLITE_ONLY
def test_each_recipient_opens_it(taskdb, filled, shelf, keys, tmp_path):
    """Keys of age and of SSH open one archive, and so does the age of the system."""
    ssh = tmp_path / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ssh], check=True)
    public = (*(key.public for key in keys), ssh.with_suffix(".pub").read_text())
    taskdb("backup", *(word for key in public for word in ("--encrypt-to", key)))
    [path] = archives(shelf)
    for file in (keys[0].path, keys[1].path, ssh):
        taskdb("backup", "verify", path, "--identity", file)
    plain = subprocess.run(["age", "-d", "-i", ssh, path], capture_output=True, check=True).stdout
    assert plain.startswith(b"PK")
    taskdb("backup", "verify", path, "--identity", tmp_path / "none", expect=USAGE)


@SQLITE_ONLY
@pytest.mark.usefixtures("filled")
def test_the_setting_counts_for_everything_that_is_written(taskdb, shelf, keys, monkeypatch):
    """While recipients are set, no command writes an archive in clear, and none begins without them."""
    tmp_path = shelf.parent
    names = tmp_path / "recipients.txt"
    monkeypatch.setenv("TASKDB_BACKUP_RECIPIENTS", str(names))
    target = f"sqlite:///{tmp_path / 'copy.sqlite3'}"
    commands = [
        ("backup",),
        ("backup", "--file", tmp_path / "one.age"),
        ("migrate", "down", "--yes"),
        ("migrate",),
        ("restore", "latest", "--identity", keys[0].path, "--replace", "--yes"),
        ("copy", "--to", target, "--replace", "--yes"),
        ("copy", "--to", target, "--replace", "--yes"),
    ]
    for content in (None, "", "age1nonsense", keys[0].secret):
        if content is not None:
            names.write_text(content)
        for words in commands:
            said = taskdb(*words, expect=USAGE)
            assert keys[0].secret[:40] not in said.err
    assert not shelf.exists()
    names.write_text(f"# the key in the safe\n\n{keys[0].public}\n")
    for words in commands:
        taskdb(*words)
    assert len(archives(shelf)) == 5
    assert (tmp_path / "one.age").read_bytes().startswith(MAGIC)
    taskdb("backup", "--encrypt-to", keys[1].public)
    taskdb("backup", "verify", "latest", "--identity", keys[0].path, expect=USAGE)
    shown = taskdb("backup", "--check-config", "--identity", keys[0].path).out
    assert keys[0].public in shown
    assert str(keys[0].path) in shown
    assert keys[0].secret not in shown
    assert json.loads(taskdb("config", "-o", "json").out)["recipients"] == [keys[0].public]


@ENDS
def test_a_new_machine_needs_only_the_archives_and_the_key(taskdb, filled, shelf, keys, tmp_path):
    """Without the record, `restore latest --identity` opens the newest archive and proves it."""
    taskdb("backup", "--encrypt-to", keys[0].public)
    taskdb("backup", "--encrypt-to", keys[0].public)
    for record in shelf.glob("*.taskdb.json"):
        record.unlink()
    assert [each["identity"] for each in listed(taskdb)] == [None, None]
    assert "encrypted" in taskdb("backup", "prune", "--keep-last", 1).out
    assert len(archives(shelf)) == 2
    new = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    for url in (new, text(filled)):
        taskdb("--database-url", url, "backup", "verify", "latest", expect=USAGE)
    taskdb("--database-url", new, "restore", "latest", expect=USAGE)
    said = taskdb("--database-url", new, "restore", "latest", "--identity", keys[0].path).err
    assert archives(shelf)[-1].name in said
    taskdb("backup", "verify", "latest", "--identity", keys[0].path)
    assert [bool(each["identity"]) for each in listed(taskdb)] == [False, True]


@SQLITE_ONLY
def test_a_killed_run_leaves_nothing_in_clear(filled, shelf, keys):
    """What a backup leaves that is killed when all is written is ciphertext; a stream is ciphertext too."""
    code = """
import os, sys
from taskdb_cli.backup.stores import local
from taskdb_cli.cli.run import run
local.NewLocalFile.reopen = lambda self: (self._stream.flush(), os.kill(os.getpid(), 9))
sys.exit(run(sys.argv[1:]))
"""
    environment = {**os.environ, "TMPDIR": tempfile.gettempdir()}
    words = ("--database-url", text(filled), "backup", "--encrypt-to", keys[0].public)
    assert run_python(code, *words, env=environment).returncode == -9
    [left] = shelf.glob(".*.partial")
    assert left.read_bytes().startswith(MAGIC)
    stream = subprocess.run(
        command(*words, "--file", "-"), env=environment, stdout=subprocess.PIPE, check=True
    ).stdout
    opened = subprocess.run(["age", "-d", "-i", keys[0].path], input=stream, capture_output=True, check=True)
    assert opened.stdout.startswith(b"PK")
    assert not [*Path(tempfile.gettempdir()).iterdir()]


@SQLITE_ONLY
def test_a_secret_key_in_a_wrong_place_is_not_repeated(taskdb, filled, shelf, keys, monkeypatch):
    """A secret key that is given as a recipient, as a path or as a setting is shown nowhere."""
    secret = keys[0].secret
    for words in (
        ("backup", "--encrypt-to", secret),
        ("backup", "--encrypt-to", secret.lower(), "-v"),
        ("backup", "verify", "latest", "--identity", secret),
        ("migrate", "--encrypt-to", secret),
    ):
        said = taskdb(*words, expect=USAGE)
        assert secret[20:50].lower() not in f"{said.out}{said.err}".lower()
    monkeypatch.setenv("TASKDB_BACKUP_IDENTITY", secret)
    assert secret[20:50] not in taskdb("config", "-o", "json").out
