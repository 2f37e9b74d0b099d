"""taskdb config: every setting, where it comes from, and the database."""

import json
from pathlib import Path

import pytest

from taskdb_cli.system.environment import SETTINGS
from tests.conftest import ENGINES

CANARY = "c4n4ry"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"


@pytest.fixture
def file(isolated, tmp_path):
    """The user's file of profiles."""
    path = tmp_path / "home/.config/taskdb/config.toml"
    path.parent.mkdir(parents=True)

    def write(text):
        path.write_text(text)
        path.chmod(0o600)
        return path

    return write


@pytest.fixture
def shown(bare_taskdb):
    """Runs `config -o json` and returns the settings by name, and the whole report."""

    def run(*options, **more):
        report = json.loads(bare_taskdb(*options, "config", "-o", "json", **more).out)
        return {each["name"]: each for each in report["settings"]}, report

    return run


def test_every_setting_is_there(shown):
    """Each variable of taskdb has a row, the second pair of addresses apart; nothing is set at first."""
    settings, report = shown()
    names = {name.removeprefix("TASKDB_").lower() for name in SETTINGS if name.startswith("TASKDB_")}
    assert set(settings) == names
    assert settings["connect_timeout"]["value"] == "15"
    assert settings["database_url"]["value"].endswith("/taskdb.sqlite3")
    assert report["troubles"] == []
    assert report["database"]["problem"]


def test_each_place_is_named(shown, file, monkeypatch):
    """Option, profile, environment, dotenv file and the file's default profile say that they are it."""
    path = file(
        "default_profile = 'dev'\n[profiles.dev]\npool_size = 7\nschema = 'dev'\n"
        "[profiles.prod]\ndatabase_url = 'x.db'\npool_size = 8\n"
    )
    Path(".env").write_text("TASKDB_CLIENT_TIMEOUT=9\n")
    monkeypatch.setenv("TASKDB_LOCK_TIMEOUT", "3")
    settings, _ = shown("--database-url", "postgresql://127.0.0.1:1/d", "--log-format", "json")
    found = {name: (each["value"], each["source"], each["origin"]) for name, each in settings.items()}
    assert found["log_format"] == ("json", "option", "--log-format")
    assert found["database_url"] == ("postgresql://127.0.0.1:1/d", "option", "--database-url")
    assert found["lock_timeout"] == ("3", "environment", "environment")
    assert found["client_timeout"] == ("9", "dotenv", f"dotenv file {Path('.env').absolute()}")
    assert found["pool_size"] == ("7", "default profile", f"default profile dev in {path}")
    assert found["profile"][:2] == ("dev", "default profile")
    assert found["retry_budget"][1] == "environment"
    settings, report = shown("--profile", "prod")
    assert settings["pool_size"]["origin"] == f"profile prod in {path}"
    assert settings["database_url"]["source"] == "profile"
    assert report["profiles"] == ["dev", "prod"]
    monkeypatch.setenv("TASKDB_PROFILE", "prod")
    assert shown()[0]["profile"]["source"] == "environment"
    monkeypatch.setenv("DATABASE_URL", "other.db")
    settings, report = shown()
    assert settings["database_url"]["value"] == "sqlite:///other.db"
    assert report["database"]["profile"] is None


@pytest.mark.parametrize("engine", [ENGINES[0], ENGINES[-1]], indirect=True)
def test_the_database_is_described(taskdb, url):
    """Engine, size and revision are asked of the database, in every format."""
    report = json.loads(taskdb("config", "--check", "-o", "json").out)
    database = report["database"]
    assert database["engine"] == {"sqlite": "SQLite"}.get(url.get_backend_name(), "PostgreSQL")
    assert database["size"] > 10_000
    assert database["revision"] == database["newest_revision"]
    assert (database["problem"], report["troubles"]) == (None, [])
    for output in ("table", "tsv", "csv", "ndjson"):
        out = taskdb("config", "-o", output).out
        assert database["engine"] in out
        assert database["place"] in out
    taskdb("migrate", "down", "--yes", "--no-backup")
    report = json.loads(taskdb("config", "--check", "-o", "json").out)
    assert report["database"]["revision"] != report["database"]["newest_revision"]
    assert "taskdb migrate" in str(report["database"]) + taskdb("migrate", "check", expect=6).err


TROUBLE = {
    "unknown": ({"TASKDB_DATABSE_URL": CANARY}, "TASKDB_DATABASE_URL"),
    "value": ({"TASKDB_CONNECT_TIMEOUT": "soon"}, "TASKDB_CONNECT_TIMEOUT"),
    "label": ({"TASKDB_BACKUP_LABEL": " "}, "label"),
    "limits": ({"TASKDB_HEALTH_LIMITS": "nonsense"}, "nonsense"),
    "address": ({"TASKDB_DATABASE_URL": f"postgresql://u:{CANARY}@@h/d"}, "TASKDB_DATABASE_URL"),
    "server": ({"TASKDB_DATABASE_URL": f"postgresql://u:{CANARY}@127.0.0.1:1/d"}, "127.0.0.1:1"),
    "schema": ({"TASKDB_SCHEMA": "x"}, "schema"),
    "directory": ({"TASKDB_BACKUP_DIR": f"postgresql://u:{CANARY}@h/d"}, "directory"),
    "dotenv": ({"TASKDB_ENV_FILE": "nowhere"}, "nowhere"),
    "profile": ({"TASKDB_PROFILE": "nope"}, "nope"),
    "time zone": ({"TZ": "Mars/Base"}, "Mars/Base"),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_trouble_is_shown_and_checked(bare_taskdb, monkeypatch, trouble):
    """Config says what is wrong and exits 0, with --check it exits 2; no password is shown."""
    variables, said = TROUBLE[trouble]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    plain = bare_taskdb("config", "-o", "json")
    assert said in plain.err
    assert plain.err.startswith("trouble: ")
    assert said in json.dumps(json.loads(plain.out)["troubles"])
    checked = bare_taskdb("config", "--check", expect=2)
    assert said in checked.err
    assert checked.err.startswith("error: ")
    assert checked.err.count("\n") == 1
    assert CANARY not in plain.out + plain.err + checked.out + checked.err


@pytest.mark.parametrize("line", ["TASKDB_LOG_FILE=/nowhere/log", "TASKDB_LOG_FILE=.env", "no setting"])
def test_check_looks_at_the_dotenv_file(bare_taskdb, line):
    """A log that cannot be written and a line that is not understood are trouble, too."""
    Path(".env").write_text(f"{line}\n")
    Path(".env").chmod(0o600)
    assert ".env" in bare_taskdb("config", "--check", expect=2).err or "/nowhere/log" in line
    bare_taskdb("config")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o604])
@pytest.mark.parametrize("named", [False, True])
def test_check_warns_of_secrets_that_others_may_read(bare_taskdb, tmp_path, mode, named):
    """A dotenv file with a password and a file of a secret key are warned of; that is no failure."""
    dotenv, key = tmp_path / "odd.env" if named else Path(".env").absolute(), tmp_path / "key.txt"
    key.touch()
    dotenv.write_text(f"TASKDB_BACKUP_IDENTITY={key}\nOTHER=postgresql://u:{CANARY}@h/d\n")
    for file in (dotenv, key):
        file.chmod(mode)
    options = ("--env-file", dotenv) if named else ()
    checked = bare_taskdb(*options, "config", "--check")
    advice = "and others may read it; run 'chmod 600' on it"
    warnings = [
        f"warning: the dotenv file {dotenv} holds a password, {advice}",
        f"warning: the identity file {key} holds a secret key, {advice}",
    ]
    assert checked.err.splitlines() == ([] if mode == 0o600 else warnings)
    assert json.loads(bare_taskdb(*options, "config", "-o", "json").out)["troubles"] == []
    assert bare_taskdb("-q", *options, "config", "--check").err == ""


def test_an_open_file_without_a_secret(bare_taskdb):
    """A dotenv file that holds no password may be read by everybody."""
    Path(".env").write_text("TASKDB_DATABASE_URL=postgresql://u@127.0.0.1:1/d\n")
    Path(".env").chmod(0o644)
    assert "warning" not in bare_taskdb("config").err


@pytest.mark.parametrize("name", ["TASKDB_CONNECT_TIMEOUT", "TASKDB_LOG_FORMAT", "TASKDB_POOL_SIZE"])
def test_a_wrong_value_has_a_place(bare_taskdb, monkeypatch, name):
    """The error of a value that is not accepted says where it is set."""
    Path(".env").write_text(f"{name}=odd\n")
    place = f"{name} in the dotenv file {Path('.env').absolute()}"
    assert bare_taskdb("task", "list", expect=2).err.startswith(f"error: {place} must be ")
    monkeypatch.setenv(name, "odder")
    assert f"{name} in the environment must be " in bare_taskdb("config").err


def test_files_that_are_refused_are_shown(bare_taskdb, file):
    """The table names a file that is refused, and does not say that there is none."""
    path = file(f"[profiles.dev]\ndatabase_url = 'postgresql://u:{CANARY}@h/d'\n")
    path.chmod(0o644)
    Path("odd.env").mkdir()
    shown = bare_taskdb("--env-file", "odd.env", "config", "-o", "table").out.replace("\n", "")
    assert f"{path}: refused" in shown
    assert "odd.env: refused" in shown
    assert "no profiles" not in shown


def test_check_looks_at_every_profile(bare_taskdb, file):
    """A mistake in a profile that is not used is trouble for --check only."""
    path = file("[profiles.dev]\n[profiles.prod]\nprotcted = true\n")
    assert bare_taskdb("config").err == ""
    assert "protected" in bare_taskdb("config", "--check", expect=2).err
    path.chmod(0o666)
    assert "config.toml" in bare_taskdb("config", "--check", expect=2).err
    bare_taskdb("--profile", "nope", "config", expect=2)


def test_check_looks_at_the_default_profile(bare_taskdb, file):
    """A default that does not exist is trouble although another profile is used, and is said once."""
    file("default_profile = 'zz'\n[profiles.dev]\n")
    assert "'zz'" in bare_taskdb("--profile", "dev", "config", "--check", expect=2).err
    assert bare_taskdb("config", "--check", expect=2).err.count("'zz'") == 1


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{CANARY}%40@127.0.0.1:1/d?passfile=/nowhere",
        f"postgresql://u@127.0.0.1:1/d?password={CANARY}&sslpassword={CANARY}",
        f"postgresql://u@127.0.0.1:1/d?pass%77ord={CANARY}&sslpass%77ord={CANARY}",
    ],
)
@pytest.mark.parametrize("output", ["table", "json", "tsv"])
def test_passwords_are_hidden(bare_taskdb, monkeypatch, url, output):
    """The password of an address is hidden, however it is written, and so is one in a wrong place."""
    monkeypatch.setenv("TASKDB_DATABASE_URL", url)
    monkeypatch.setenv("TASKDB_DIRECT_URL", url)
    monkeypatch.setenv("TASKDB_READ_URL", url)
    monkeypatch.setenv("TASKDB_BACKUP_DIR", f"postgresql://u:{CANARY}@h/d")
    result = bare_taskdb("config", "-o", output)
    assert "***" in result.out
    assert "127.0.0.1:1" in result.out
    assert CANARY not in result.out + result.err


def test_nothing_is_made(bare_taskdb, tmp_path):
    """Config makes neither a database nor a file of profiles, and says where they would be."""
    out = bare_taskdb("config", "--check").out
    assert str(tmp_path / "home/.config/taskdb/config.toml") not in out
    assert not list(tmp_path.rglob("*.sqlite3"))
    assert str(tmp_path / "home/.config/taskdb/config.toml") in bare_taskdb("config", "-o", "table").out


@pytest.mark.skipif(not PAGE.exists(), reason="only the product is here")
def test_the_page_has_every_key(shown):
    """docs/settings.md names each key of the report."""
    settings, report = shown()
    page = PAGE.read_text(encoding="utf-8")
    for key in (*report, *report["database"], *report["files"], *settings["schema"]):
        assert f"`{key}`" in page
