"""Profiles in the user's file, the order of all places of settings, and names that are none."""

import os
from pathlib import Path

import pytest

from taskdb_cli.config import load_settings
from taskdb_cli.errors import InvalidConfiguration
from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.system.environment import KEYS

pytestmark = pytest.mark.usefixtures("isolated")

CANARY = "c4n4ry"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
MISSING = ExitCode.NOT_FOUND
"""The exit code of a command that read its settings, because the database that they name is missing."""


@pytest.fixture
def file(tmp_path):
    """The user's file of profiles, with a name for each database."""
    path = tmp_path / "home" / ".config" / "taskdb" / "config.toml"
    path.parent.mkdir(parents=True)
    return write(path, "".join(f"[profiles.{name}]\ndatabase_url = '{name}.db'\n" for name in ("one", "two")))


def write(path, text, mode=0o600):
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
    path.chmod(mode)
    return path


def name(environment=None, **options):
    """The name of the database that is chosen."""
    return Path(load_settings(environment=environment or {}, **options).database_url.database).name


def refused(environment=None, **options):
    """The message and hint of the refusal."""
    with pytest.raises(InvalidConfiguration) as caught:
        load_settings(environment=environment or {}, **options)
    return f"{caught.value.message} {caught.value.hint}"


def test_each_place_wins_over_the_next(file):
    """Option, profile by option, environment, profile by that, dotenv file, profile by the file, default."""
    assert name() == "taskdb.sqlite3"
    write(file, f"default_profile = 'two'\n{file.read_text()}")
    assert name() == "two.db"
    write(Path(".env"), "TASKDB_DATABASE_URL=dotenv.db\n")
    assert name() == "dotenv.db"
    environment = {"TASKDB_PROFILE": "one"}
    assert name(environment) == "one.db"
    environment["DATABASE_URL"] = "environment.db"
    assert name(environment) == "environment.db"
    environment["TASKDB_DATABASE_URL"] = "ours.db"
    assert name(environment) == "ours.db"
    assert name(environment, profile="two") == "two.db"
    assert name(environment, database_url="option.db") == "option.db"


def test_the_dotenv_file_may_choose_the_profile(file):
    """TASKDB_PROFILE in .env goes before the default of the user's file, and behind the environment's."""
    write(file, f"default_profile = 'two'\n{file.read_text()}")
    write(Path(".env"), "TASKDB_PROFILE=one\n")
    assert name() == "one.db"
    assert name({"TASKDB_PROFILE": "two"}) == "two.db"
    write(Path(".env"), "TASKDB_PROFILE=one\nDATABASE_URL=dotenv.db\n")
    assert name() == "dotenv.db"


def test_every_setting_follows_the_same_order(file):
    """A setting beside the address is taken from the first place that has it, too."""
    write(file, f"default_profile = 'one'\n{file.read_text()}lock_timeout = 3\nslow_query_ms = 7\n")

    def options(environment=None, **given):
        found = load_settings(environment=environment or {}, **given).options
        return found.lock_timeout, found.slow_query_ms

    assert options() == (10, 1000)
    assert options({"TASKDB_LOCK_TIMEOUT": "4"}, profile="two") == (3, 7)
    assert options({"TASKDB_LOCK_TIMEOUT": "4", "TASKDB_PROFILE": "two"}) == (4, 7)
    write(Path(".env"), "TASKDB_LOCK_TIMEOUT=5\n")
    assert options({"TASKDB_PROFILE": "two"}) == (3, 7)
    assert options() == (5, 1000)


def test_both_addresses_come_from_the_profile(file):
    """A direct address of another place never meets the profile's own address."""
    write(
        file, "[profiles.one]\ndatabase_url = 'postgresql://pooler/d'\ndirect_url = 'postgresql://server/d'\n"
    )
    chosen = load_settings(profile="one", environment={"TASKDB_DIRECT_URL": "postgresql://other/d"})
    assert (chosen.database_url.host, chosen.direct_url.host) == ("pooler", "server")
    environment = {"TASKDB_PROFILE": "one", "TASKDB_DATABASE_URL": "postgresql://h/d"}
    assert load_settings(environment=environment).direct_url.host == "h"


@pytest.mark.parametrize("setting", ["schema = 'work'", "pooled = true", "backup_label = 'work'"])
def test_what_a_profile_says_about_its_database_is_for_no_other(file, setting):
    """The schema of a profile does not follow to a database that another place names; limits do."""
    address = "database_url = 'postgresql://h/d'\n"
    write(file, f"default_profile = 'one'\n[profiles.one]\n{setting}\nlock_timeout = 3\n{address}")
    plain = load_settings(environment={}, database_url="sqlite:///x")
    assert plain.options.lock_timeout == 3
    assert (plain.options.schema, plain.options.pooled, plain.backup_label) == (None, False, None)
    own = load_settings(environment={})
    assert (own.options.schema, own.options.pooled, own.backup_label) != (None, False, None)
    write(file, file.read_text().replace(address, ""))
    follows = load_settings(environment={}, database_url="postgresql://h/d")
    assert (follows.options.schema, follows.options.pooled, follows.backup_label) != (None, False, None)


def test_a_profile_has_every_setting(file):
    """Each setting can be written under its name in lower case, as text or in its own type."""
    values = dict.fromkeys(KEYS, "'1'") | {
        "database_url": "'postgresql://h/d'",
        "direct_url": "'postgresql://h2/d'",
        "read_url": "'postgresql://h3/d'",
        "log_format": "'json'",
        "statement_timeout": "0.5",
        "pool_size": "3",
        "pooled": "true",
        "backup_dir": "'~/backups'",
    }
    write(file, "[profiles.one]\n" + "".join(f"{key} = {value}\n" for key, value in values.items()))
    settings = load_settings(profile="one", environment={})
    assert (settings.log.format, settings.options.statement_timeout, settings.pool.size) == ("json", 0.5, 3)
    assert settings.options.pooled
    assert settings.backup_dir == str(file.parents[2] / "backups")
    assert (settings.direct_url.host, settings.read_url.host) == ("h2", "h3")


BAD = {
    "[profiles.one]\ndatabse_url = 'postgresql://u:c4n4ry@h/d'": "database_url",
    "[profiles.one]\nprotcted = true": "protected",
    "defualt_profile = 'one'": "default_profile",
    "[profile.one]": "profiles",
    "default_profile = 'tow'\n[profiles.two]": "two",
    "default_profile = 1": "default_profile",
    "profiles = 1": "profiles",
    "[profiles]\none = 'c4n4ry'": "[profiles.NAME]",
    "[profiles.one]\nprotected = 'yes'": "true or false",
    "[profiles.one]\nconnect_timeout = 'c4n4ry'": "connect_timeout",
    "[profiles.one]\nconnect_timeout = 5.5": "connect_timeout",
    "[profiles.one]\nconnect_timeout = true": "connect_timeout",
    f"[profiles.one]\nconnect_timeout = 0x{'f' * 5000}": "connect_timeout",
    "[profiles.one]\nschema = 5": "schema",
    "[profiles.one]\nschema = ''": "schema",
    "[profiles.one]\nschema = ['c4n4ry']": "schema",
    "[profiles.one]\nschema = 2026-11-26": "schema",
    "[profiles.one]\npooled = 2": "pooled",
    "[profiles.one]\nschema = '${c4n4ry}'": "${",
    "[profiles.one]\ndatabase_url = '${c4n4ry}'": "${",
    "[profiles.one]\ndatabase_url = 'c4n4ry'": "database_url",
    "[profiles.one]\ndatabase_url = 'postgresql://u:c4n4ry@@h/d'": "database_url",
    "[profiles.one]\ndatabase_url = 'postgresql://h/a'\ndirect_url = 'postgresql://h/b'": "and direct_url",
    "[profiles.one]\ndirect_url = 'postgresql://h/b'\nprotected = true": "without database_url",
    "[profiles.one]\nread_url = 'postgresql://h/b'": "read_url",
    "[profiles.one]\ndatabase_url = 'tasks.db'\nread_url = 'postgresql://u:c4n4ry@h/b'": "replica",
    "[profiles.'a b']": "name",
    "[profiles.one]\ndatabase_url = 'postgresql://u:c4n4ry@h/d": "TOML",
    "[profiles.one]\nschema = c4n4ry\n": "line 2",
    "'postgresql://u:c4n4ry@h' = 1\n'postgresql://u:c4n4ry@h' = 1": "TOML",
    f"x = {'[' * 20_000}": "TOML",
    f"x = {'9' * 5000}": "TOML",
    b"a = 'c4n4ry\xff'": "UTF-8",
    b"a = 'c4n4ry\0'": "UTF-8",
    b"#" * 300_000: "longer",
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_a_bad_file_is_refused(bare_taskdb, file, text):
    """It is refused in one line with its path and what is wrong, and never says what it holds."""
    write(file, text)
    profile = ["--profile", "one"] if b"one]" in (text if isinstance(text, bytes) else text.encode()) else []
    err = bare_taskdb(*profile, "user", "list", expect=ExitCode.USAGE).err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert str(file) in err
    assert BAD[text] in err
    assert CANARY not in err


@pytest.mark.parametrize("wrong", ["tow", "", "nothing\nelse\x1b", "postgresql://u:c4n4ry@h/d"])
def test_a_profile_that_does_not_exist(bare_taskdb, file, monkeypatch, wrong):
    """An unknown profile is refused with the likely name, or with the names that there are."""
    err = bare_taskdb("--profile", wrong, "user", "list", expect=ExitCode.USAGE).err
    assert err.count("\n") == 1
    assert ("did you mean two?" if wrong == "tow" else "one, two") in err
    assert CANARY not in err
    if wrong:
        monkeypatch.setenv("TASKDB_PROFILE", wrong)
        assert "TASKDB_PROFILE" in bare_taskdb("user", "list", expect=ExitCode.USAGE).err
        bare_taskdb("--profile", "two", "user", "list", expect=MISSING)
    file.unlink()
    assert str(file) in bare_taskdb("--profile", wrong, "user", "list", expect=ExitCode.USAGE).err


def test_a_profile_and_an_address_exclude_each_other(bare_taskdb, file):
    """--profile and --database-url together are refused; TASKDB_PROFILE is not."""
    err = bare_taskdb("--profile", "one", "--database-url", "x.db", "user", "list", expect=ExitCode.USAGE).err
    assert "--profile" in err
    assert "--database-url" in err
    assert name({"TASKDB_PROFILE": "one"}, database_url="x.db") == "x.db"


@pytest.mark.parametrize(
    ("secret", "mode", "refusal"),
    [
        ("u:c4n4ry@h/d", 0o600, ""),
        ("u:c4n4ry@h/d", 0o604, "chmod 600"),
        ("u:c4n4ry@h/d", 0o640, "chmod 600"),
        ("u@h/d?password=c4n4ry", 0o644, "chmod 600"),
        ("u@h/d?pass%77ord=c4n4ry", 0o644, "chmod 600"),
        ("u@h/d", 0o644, ""),
        ("u@h/d", 0o646, "everybody may write"),
    ],
)
def test_a_password_that_others_may_read(file, secret, mode, refusal):
    """A file with a password is for its owner alone, whichever profile is used; nobody else may write any."""
    write(file, f"[profiles.one]\n[profiles.two]\ndatabase_url = 'postgresql://{secret}'\n", mode)
    if not refusal:
        assert load_settings(profile="two", environment={}).database_url.host == "h"
        return
    message = refused(profile="one")
    assert refusal in message
    assert str(file) in message
    assert CANARY not in message


def test_a_place_that_is_no_file(file):
    """A directory, a pipe and a link that leads nowhere are refused; a directory all may write is, too."""
    file.parent.chmod(0o777)
    assert str(file.parent) in refused()
    file.parent.chmod(0o700)
    for make in (Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")):
        file.rename(file.with_name("old")) if file.is_file() else file.unlink()
        make(file)
        assert str(file) in refused()
        if file.is_dir():
            file.rmdir()
            file.symlink_to("nowhere")


def test_the_file_is_where_xdg_says(file, tmp_path):
    """XDG_CONFIG_HOME moves the file."""
    moved = tmp_path / "moved" / "taskdb"
    file.parent.rename(tmp_path / "taskdb")
    (tmp_path / "moved").mkdir()
    (tmp_path / "taskdb").rename(moved)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(moved.parent))
        assert name(profile="one") == "one.db"


def test_names_of_profiles_are_completed(file):
    """The shell offers the profiles that begin as typed."""
    from taskdb_cli.cli.completion import complete_profiles

    assert complete_profiles("t") == ["two"]


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("TASKDB_DATABSE_URL", "TASKDB_DATABASE_URL"),
        ("TASKDB_URL", "TASKDB_DATABASE_URL"),
        ("TASKDB_LOCKTIMEOUT", "TASKDB_LOCK_TIMEOUT"),
        ("taskdb_schema", "TASKDB_SCHEMA"),
        ("TASKDB_QQQ", ""),
    ],
)
def test_an_unknown_variable_is_warned_of(bare_taskdb, monkeypatch, variable, meant):
    """It is named once with the likely name, in the environment and in the dotenv file; -q says nothing."""
    for place in ("environment", ".env"):
        if place == ".env":
            monkeypatch.delenv(variable)
            write(Path(".env"), f"{variable}={CANARY}\n")
        else:
            monkeypatch.setenv(variable, CANARY)
        warning, error = bare_taskdb("user", "list", expect=MISSING).err.splitlines()
        assert warning.startswith(f"warning: {variable} in the ")
        assert place in warning
        assert (f"did you mean {meant}?" if meant else "is not a setting of taskdb") in warning
        assert CANARY not in warning
        assert error.startswith("error: ")
        assert bare_taskdb("-q", "user", "list", expect=MISSING).err == f"{error}\n"


def test_other_variables_are_not_warned_of(bare_taskdb, monkeypatch):
    """Variables of completion, of these tests and of other programs mean nothing to taskdb."""
    for variable in ("_TASKDB_X", "TASKDB_SOAK", "TASKDB_TEST_DATABASE_URL", "DATABASE_FOO", "MY_TASKDB_X"):
        monkeypatch.setenv(variable, "1")
    assert "warning" not in bare_taskdb("user", "list", expect=MISSING).err


@pytest.mark.skipif(not PAGE.exists(), reason="only the product is here")
def test_the_example_of_the_page_works(file):
    """The file that docs/settings.md shows is taken, with its default and its protected profile."""
    page = PAGE.read_text(encoding="utf-8")
    write(file, page.partition("```toml\n")[2].partition("```")[0])
    assert name() == "dev.sqlite3"
    chosen = load_settings(profile="prod", environment={})
    assert chosen.layers.profile.protected
    assert chosen.options.schema == "taskdb"
