"""An error about the address of a database says which setting it comes from."""

from pathlib import Path

import pytest

PASSWORD = "c4n4ry"
NOBODY = f"postgresql://ann:{PASSWORD}@127.0.0.1:1/work"
BAD = f"postgresql://ann:{PASSWORD}@127.0.0.1:1/work?sslmode=nonsense"


@pytest.fixture(params=["option", "environment", "dotenv", "env-file", "profile", "default profile"])
def named(request, bare_taskdb, monkeypatch, tmp_path):
    """Runs a command with the address of a database from one place; returns its line of error."""
    dotenv, other = Path(".env").absolute(), tmp_path / "other.env"
    profiles = tmp_path / "home/.config/taskdb/config.toml"

    def run(address, *words, code):
        options, place = (), ""
        match request.param:
            case "option":
                options, place = ("--database-url", address), "--database-url"
            case "environment":
                monkeypatch.setenv("DATABASE_URL", address)
                place = "DATABASE_URL in the environment"
            case "dotenv":
                dotenv.write_text(f"TASKDB_DATABASE_URL={address}\n")
                place = f"TASKDB_DATABASE_URL in the dotenv file {dotenv}"
            case "env-file":
                other.write_text(f"TASKDB_DATABASE_URL={address}\n")
                options = ("--env-file", other)
                place = f"TASKDB_DATABASE_URL in the dotenv file {other}"
            case kind:
                default = "default_profile = 'dev'\n" if kind == "default profile" else ""
                profiles.parent.mkdir(parents=True, exist_ok=True)
                profiles.write_text(f"{default}[profiles.dev]\ndatabase_url = '{address}'\n")
                profiles.chmod(0o600)
                options = () if default else ("--profile", "dev")
                place = f"database_url in the {kind} dev in {profiles}"
        error = bare_taskdb(*options, *words, expect=code).err
        assert PASSWORD not in error
        return error, place

    return run


def test_a_server_that_does_not_answer(named):
    """The hint of a connection that failed ends with the setting and its place."""
    error, place = named(NOBODY, "task", "list", code=5)
    assert error.endswith(f"; the address comes from {place})\n")


def test_an_address_that_libpq_refuses(named):
    """The error begins with the setting and its place."""
    error, place = named(BAD, "task", "list", code=2)
    assert error.startswith(f"error: {place}: the database URL is not usable: ")


def test_a_file(named, tmp_path):
    """A SQLite file that is missing, is none, or cannot be made or read as one is traced back too."""
    error, place = named("nowhere.db", "task", "list", code=3)
    assert error.endswith(f"; the path comes from {place})\n")
    error, place = named("sqlite:////tmp", "task", "list", code=2)
    assert error.endswith(f"; the address comes from {place})\n")
    error, place = named("/proc/nowhere/x.db", "migrate", code=1)
    assert error.endswith(f"(choose another place with {place})\n")
    (tmp_path / "odd.db").write_text("odd")
    error, place = named(str(tmp_path / "odd.db"), "task", "list", code=6)
    assert error.endswith(f"(check the path in {place})\n")


def test_the_default_place(bare_taskdb):
    """Where no setting names the database, the hint says how to name one."""
    assert bare_taskdb("task", "list", expect=3).err.endswith("set TASKDB_DATABASE_URL or --database-url)\n")


@pytest.mark.parametrize("variable", ["TASKDB_DATABASE_URL", "TASKDB_DIRECT_URL"])
def test_the_direct_address(bare_taskdb, monkeypatch, variable):
    """A migration names the direct address if there is one, and else the address that it follows from."""
    monkeypatch.setenv("TASKDB_DATABASE_URL", NOBODY)
    monkeypatch.setenv(variable, NOBODY)
    failed = bare_taskdb("migrate", expect=5).err
    assert failed.endswith(f"; the address comes from {variable} in the environment)\n")


@pytest.mark.parametrize("place", ["file", "az://x", "s3:/x", f"s3://{PASSWORD}@b/x", NOBODY])
def test_the_place_of_archives(bare_taskdb, place):
    """A directory that cannot be read, or an address that cannot be one, is traced back to its setting."""
    dotenv = Path(".env").absolute()
    dotenv.write_text(f"TASKDB_DATABASE_URL=work.db\nTASKDB_BACKUP_DIR={place}\n")
    Path("file").touch()
    failed = bare_taskdb("backup", "list", expect=None)
    assert failed.code in (1, 2)
    assert failed.err.endswith(f"; the address comes from TASKDB_BACKUP_DIR in the dotenv file {dotenv})\n")
    assert PASSWORD not in failed.err
    assert "the address comes from" not in bare_taskdb("backup", "--dir", place, "list", expect=None).err


def test_other_databases(bare_taskdb, monkeypatch):
    """The target of a copy or of a test restore is traced back to its option."""
    monkeypatch.setenv("TASKDB_DATABASE_URL", "work.db")
    bare_taskdb("migrate")
    bare_taskdb("backup")
    for words, option in [(["copy"], "--to"), (["backup", "verify", "latest", "--drill"], "--drill-url")]:
        failed = bare_taskdb(*words, option, NOBODY, expect=5).err
        assert f"the address comes from {option})" in failed
        assert PASSWORD not in failed
