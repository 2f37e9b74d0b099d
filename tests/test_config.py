"""Settings: where each comes from, and what is refused."""

import os
from pathlib import Path

import pytest

from taskdb_cli.config import load_settings
from taskdb_cli.database import Database
from taskdb_cli.database.url import parse_url
from taskdb_cli.errors import DatabaseUnavailable, InvalidConfiguration
from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.system.account import system_user

pytestmark = pytest.mark.usefixtures("isolated")

NEON = "postgresql://ann:pw@ep-cool-sun-123456-pooler.eu-central-1.aws.neon.tech/neondb"
NEON_DIRECT = NEON.replace("-pooler", "")


def names(environment=None, **options):
    """The names of the database and of its direct endpoint, whichever their engine."""
    settings = load_settings(environment=environment or {}, **options)
    return tuple(
        Path(url.database).name if url.get_backend_name() == "sqlite" else f"{url.host}/{url.database}"
        for url in (settings.database_url, settings.direct_url)
    )


def write_env(text, path=".env"):
    """A dotenv file."""
    Path(path).write_text(text)


def refused(**arguments):
    """The message and hint of the refusal."""
    with pytest.raises(InvalidConfiguration) as caught:
        load_settings(**arguments).database()
    assert caught.value.exit_code == ExitCode.USAGE
    return f"{caught.value.message} {caught.value.hint}"


def test_each_layer_wins_over_the_next():
    """An option wins over the environment, that over the dotenv file, that over the default."""
    assert names() == ("taskdb.sqlite3", "taskdb.sqlite3")
    write_env("TASKDB_DATABASE_URL=postgresql://file/d\n")
    assert names() == ("file/d", "file/d")
    environment = {"DATABASE_URL": "postgresql://environment/d"}
    assert names(environment) == ("environment/d", "environment/d")
    assert names(environment, database_url="sqlite:///option") == ("option", "option")


def test_our_own_variable_wins_within_a_layer():
    """TASKDB_DATABASE_URL wins over DATABASE_URL, which other programs use too."""
    ours = {"TASKDB_DATABASE_URL": "postgresql://ours/d", "DATABASE_URL": "postgresql://theirs/d"}
    assert names(ours)[0] == "ours/d"
    write_env("".join(f"{name}={value}\n" for name, value in reversed(ours.items())))
    assert names()[0] == "ours/d"


def test_an_empty_variable_is_as_good_as_none():
    """A variable that is set but empty leaves the choice to the next layer."""
    write_env("TASKDB_DATABASE_URL=\nDATABASE_URL=postgresql://file/d\n")
    assert names({"TASKDB_DATABASE_URL": "", "DATABASE_URL": ""})[0] == "file/d"


def test_an_empty_option_is_refused(bare_taskdb):
    """An option that an unset shell variable left empty never means the default database."""
    assert "--database-url" in refused(database_url="", environment={})
    bare_taskdb("--database-url", "", "user", "list", expect=ExitCode.USAGE)


PAIRS = [
    ("TASKDB_DATABASE_URL", "TASKDB_DIRECT_URL"),
    ("DATABASE_URL", "DATABASE_URL_UNPOOLED"),
]


@pytest.mark.parametrize(("pooled", "direct"), PAIRS)
def test_the_direct_url_comes_with_its_pair(pooled, direct):
    """A direct URL is taken from the layer and the family of the database's URL."""
    pair = {pooled: "postgresql://pooler/d", direct: "postgresql://server/d"}
    assert names(pair) == ("pooler/d", "server/d")
    write_env("".join(f"{name}={value}\n" for name, value in pair.items()))
    assert names() == ("pooler/d", "server/d")


@pytest.mark.parametrize(("pooled", "direct"), PAIRS)
def test_pairs_are_never_mixed(pooled, direct):
    """A direct URL of another layer or another family is left alone."""
    other_direct = dict(PAIRS)[next(name for name, _ in PAIRS if name != pooled)]
    write_env(f"{direct}=postgresql://file/d\n")
    assert names({pooled: "postgresql://h/d", other_direct: "postgresql://other/d"}) == ("h/d", "h/d")
    assert names({direct: "postgresql://h/d"}, database_url="postgresql://option/d") == (
        "option/d",
        "option/d",
    )
    write_env(f"{pooled}=postgresql://file/d\n")
    assert names({direct: "postgresql://h/d"}) == ("file/d", "file/d")


def test_the_direct_url_of_neon_is_derived():
    """Without a direct URL, the endpoint of a Neon pooler follows from its host name."""
    assert names(database_url=NEON) == tuple(url.partition("@")[2] for url in (NEON, NEON_DIRECT))
    assert names(database_url=NEON_DIRECT)[1] == NEON_DIRECT.partition("@")[2]
    settings = load_settings(database_url=f"{NEON}?sslmode=require", environment={})
    assert settings.direct_url.password == "pw"
    assert settings.direct_url.query == {"sslmode": "require"}


@pytest.mark.parametrize("port", ["", ":5433"])
@pytest.mark.parametrize("wrong_host", ["", "localhost"])
def test_neon_in_the_parameters(port, wrong_host):
    """A Neon pooler is recognized as well where its host is a parameter of the URL, which wins."""
    pooler = NEON.partition("@")[2].partition("/")[0]
    settings = load_settings(
        database_url=f"postgresql://ann:pw@{wrong_host}/neondb?host={pooler}{port}&sslmode=require",
        environment={},
    )
    assert settings.options.pooled
    assert settings.database_url.query == {"sslmode": "require"}
    places = [settings.database().backend.place, settings.direct_database().backend.place]
    assert places == [f"{host}{port or ':5432'}/neondb" for host in (pooler, pooler.replace("-pooler", ""))]


def test_a_direct_address_from_another_place():
    """A direct address beside another database's setting is not used, and the hint says where it belongs."""
    environment = {"TASKDB_POOLED": "1", "TASKDB_DIRECT_URL": "postgresql://db.example.com/work"}
    settings = load_settings(database_url="postgresql://pooler.example.com/work", environment=environment)
    with pytest.raises(InvalidConfiguration) as refused:
        settings.direct_database()
    assert "in the same place as TASKDB_DATABASE_URL" in refused.value.hint


@pytest.mark.parametrize(
    ("direct", "missing"),
    [("TASKDB_DIRECT_URL", "TASKDB_DATABASE_URL"), ("DATABASE_URL_UNPOOLED", "DATABASE_URL")],
)
def test_a_direct_address_alone(direct, missing):
    """It does not lead to the default database; where another place names a database, it means nothing."""
    environment = {direct: "postgresql://db.example.com/work"}
    assert f"without {missing}" in refused(environment=environment)
    assert load_settings(database_url="x.db", environment=environment).database_url.database == "x.db"


@pytest.mark.parametrize(
    "direct",
    [
        NEON_DIRECT.replace("neondb", "other"),
        f"postgresql:///neondb?host={NEON_DIRECT.partition('@')[2].partition('/')[0].replace('sun', 'moon')}",
        NEON_DIRECT.replace("cool-sun", "warm-moon"),
        "postgresql://localhost/neondb",
        f"{NEON_DIRECT}?dbname=other",
        "sqlite:///neondb",
    ],
)
def test_a_pair_of_two_databases_is_refused(bare_taskdb, monkeypatch, direct):
    """What is restored is what is read: two databases in one pair are refused, naming the variables."""
    message = refused(environment={"DATABASE_URL": NEON, "DATABASE_URL_UNPOOLED": direct})
    assert "DATABASE_URL and DATABASE_URL_UNPOOLED" in message
    monkeypatch.setenv("DATABASE_URL", NEON)
    monkeypatch.setenv("DATABASE_URL_UNPOOLED", direct)
    bare_taskdb("user", "list", expect=ExitCode.USAGE)


@pytest.mark.parametrize("named_by", ["TASKDB_DATABASE_URL", "DATABASE_URL"])
def test_a_replica_comes_with_its_database(named_by):
    """A replica is read only if the place that names the database names it too."""
    replica = {"TASKDB_READ_URL": "postgresql://replica/d"}
    environment = {named_by: "postgresql://server/d"}
    settings = load_settings(environment=environment | replica)
    assert settings.read_url.host == "replica"
    assert settings.replica_database().backend.place == "replica:5432/d"
    assert settings.replica_database(long_lived=True).options == settings.database(long_lived=True).options
    write_env("TASKDB_READ_URL=postgresql://file/d\n")
    assert load_settings(environment=environment).read_url is None
    write_env(f"{named_by}=postgresql://file/d\n")
    for settings in (
        load_settings(environment=replica),
        load_settings(environment=environment | replica, database_url="postgresql://option/d"),
    ):
        assert settings.read_url is None
        with pytest.raises(InvalidConfiguration) as caught:
            settings.replica_database()
        assert "TASKDB_READ_URL in the environment is not used" in caught.value.hint


def test_a_database_without_a_replica():
    """The hint says which setting names one; a replica alone leads to no database, and a file has none."""
    with pytest.raises(InvalidConfiguration) as caught:
        load_settings(environment={}).replica_database()
    assert "set TASKDB_READ_URL" in caught.value.hint
    replica = {"TASKDB_READ_URL": "postgresql://replica/d"}
    assert "without TASKDB_DATABASE_URL" in refused(environment=replica)
    assert "TASKDB_READ_URL" in refused(environment=replica | {"TASKDB_DATABASE_URL": "tasks.db"})
    for address in ("replica.db", "postgresql:///?service=none", "postgresql://h/d?sslmode=no"):
        replica = {"TASKDB_READ_URL": address, "TASKDB_DATABASE_URL": "postgresql://server/d"}
        assert "TASKDB_READ_URL" in refused(environment=replica)


@pytest.mark.parametrize(("url", "replica"), [(NEON_DIRECT, NEON), (NEON, NEON_DIRECT)])
def test_a_pooler_in_front_of_a_replica(url, replica):
    """Neon's pooler is recognized in the address of a replica as in that of the database."""
    environment = {"TASKDB_DATABASE_URL": url, "TASKDB_READ_URL": f"{replica}?sslmode=verify-full"}
    settings = load_settings(environment=environment, schema="work")
    found = settings.replica_database()
    assert (found.options.pooled, found.options.schema) == (True, "work")
    assert found.url.query == {"sslmode": "verify-full"}
    assert settings.options.pooled is (url == NEON)


def test_the_dotenv_file_is_found_upwards(tmp_path, monkeypatch):
    """The nearest .env is read: that of the working directory, else of a parent."""
    write_env("DATABASE_URL=postgresql://parent/d\n", tmp_path / ".env")
    deep = tmp_path / "cwd" / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert names()[0] == "parent/d"
    write_env("DATABASE_URL=postgresql://nearest/d\n", tmp_path / "cwd" / ".env")
    assert names()[0] == "nearest/d"


def test_a_dotenv_file_can_be_named(tmp_path):
    """--env-file wins over TASKDB_ENV_FILE, and either over the nearest .env."""
    for name in ("option", "variable", ".env"):
        write_env(f"DATABASE_URL=postgresql://{name.strip('.')}/d\n", name)
    environment = {"TASKDB_ENV_FILE": "variable"}
    assert names(environment, env_file=Path("option"))[0] == "option/d"
    assert names(environment)[0] == "variable/d"
    assert names({"TASKDB_ENV_FILE": ""})[0] == "env/d"


def test_the_command_line_takes_a_dotenv_file(bare_taskdb, tmp_path):
    """--env-file reaches the settings of a command."""
    write_env("TASKDB_DATABASE_URL=sqlite:///from-file.sqlite3\n", tmp_path / "settings")
    result = bare_taskdb("--env-file", tmp_path / "settings", "user", "list", expect=ExitCode.NOT_FOUND)
    assert str(tmp_path / "cwd" / "from-file.sqlite3") in result.err


def test_a_dotenv_file_can_be_a_pipe():
    """A password manager can write the settings into a process substitution."""
    read, write = os.pipe()
    os.write(write, b"DATABASE_URL=postgresql://pipe/d\n")
    os.close(write)
    assert names(env_file=Path(f"/dev/fd/{read}"))[0] == "pipe/d"
    os.close(read)


def test_an_impossible_path_of_a_dotenv_file_is_an_error(bare_taskdb):
    """A path that no file can have is refused like a file that is missing."""
    bare_taskdb("--env-file", "long" * 2000, "user", "list", expect=ExitCode.USAGE)


@pytest.mark.parametrize("content", [None, "directory", b"A=\xff\xfe", b"DATABASE_URL=postgresql://h\0/d"])
def test_an_unusable_dotenv_file_is_an_error(bare_taskdb, monkeypatch, content):
    """A dotenv file that was named and is missing, no file, or no text is refused by its name."""
    path = Path("settings.env")
    if content == "directory":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    message = refused(env_file=path, environment={})
    assert str(path) in message or "in the dotenv file" in message
    bare_taskdb("--env-file", path, "user", "list", expect=ExitCode.USAGE)
    monkeypatch.setenv("TASKDB_ENV_FILE", str(path))
    bare_taskdb("user", "list", expect=ExitCode.USAGE)


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2", "postgresql+asyncpg"]
)
def test_every_name_of_postgresql_means_psycopg(scheme):
    """However a provider spells PostgreSQL, the driver is psycopg 3."""
    assert parse_url(f" {scheme}://h/d\n", "here").drivername == "postgresql+psycopg"


def connect_arguments(url):
    """What psycopg is given for a URL."""
    database = Database(parse_url(url, "here"))
    return database.engine.dialect.create_connect_args(database.url)[1]


@pytest.mark.parametrize("host", [NEON, NEON_DIRECT])
def test_neon_urls_reach_psycopg_unchanged(host):
    """A URL as Neon prints it keeps each of its parameters."""
    arguments = connect_arguments(f"{host}?sslmode=require&channel_binding=require")
    assert {name: value for name, value in arguments.items() if isinstance(value, str)} == {
        "host": host.partition("@")[2].partition("/")[0],
        "dbname": "neondb",
        "user": "ann",
        "password": "pw",
        "sslmode": "require",
        "channel_binding": "require",
    }


def test_parameters_of_the_url_win_over_the_settings(engine, url):
    """Options and timeouts in a PostgreSQL URL are kept; a SQLite URL takes none."""
    if engine == "sqlite":
        assert "takes a path and nothing else" in refused(
            database_url=f"{url}?connect_timeout=3", environment={}
        )
        return
    given = url.update_query_dict({"options": "-c work_mem=7MB", "connect_timeout": "7"})
    settings = load_settings(database_url=given.render_as_string(hide_password=False), environment={})
    with settings.database().connect() as connection:
        assert connection.exec_driver_sql("SHOW work_mem").scalar() == "7MB"
        assert connection.exec_driver_sql("SHOW TimeZone").scalar() == "UTC"
        assert connection.connection.driver_connection.info.get_parameters()["connect_timeout"] == "7"


BAD_URLS = [
    "",
    " ",
    "canary",
    "postgresql",
    "postgresql://user:canary@host:port/d",
    "postgresql://user:canary@host:0/d",
    "postgresql://user:canary@host:65536/d",
    "postgresql://user:canary@host:-1/d",
    "postgresql://user:can@canary@host/d",
    "postgresql://user/canary:x@host/d",
    "postgresql://user:x@canary/x@host/d",
    "postgresql://user:canary/d",
    "postgresql://user:canary@host/a%0Ab",
    "mysql://user:canary@host/d",
    "mssql+pyodbc://user:canary@host/d",
    "sqlite://",
    "sqlite:///",
    "sqlite:///:memory:",
    "sqlite:///d?password=canary",
    "sqlite:///file:d?mode=memory&uri=true",
    "sqlite://canary/d",
    "sqlite:///a%00b",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_bad_url_is_refused_without_repeating_it(bare_taskdb, monkeypatch, url):
    """A URL that cannot be used exits 2 and says where it was given, never what it was."""
    result = bare_taskdb("--database-url", url, "user", "list", expect=ExitCode.USAGE)
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert "canary" not in result.err
    monkeypatch.setenv("DATABASE_URL", url or " ")
    result = bare_taskdb("user", "list", expect=ExitCode.USAGE)
    assert "canary" not in result.err


@pytest.mark.parametrize(("name", "where"), [("DATABASE_URL", "environment"), (".env", "dotenv file")])
def test_a_bad_url_is_traced_to_its_layer(name, where):
    """The error names the variable and the layer at fault."""
    write_env("DATABASE_URL=nonsense\n" if name == ".env" else "")
    message = refused(environment={} if name == ".env" else {name: "nonsense"})
    assert "DATABASE_URL" in message
    assert where in message


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "601", "ten", " 5", "5s", "٣", "9" * 5000])
def test_a_bad_timeout_is_refused(value):
    """TASKDB_CONNECT_TIMEOUT is a whole number from 1 to 600, in the file too."""
    assert "TASKDB_CONNECT_TIMEOUT" in refused(environment={"TASKDB_CONNECT_TIMEOUT": value})
    write_env(f"TASKDB_CONNECT_TIMEOUT='{value}'\n")
    assert "TASKDB_CONNECT_TIMEOUT" in refused(environment={})


def test_a_timeout_is_read_by_the_same_precedence():
    """The environment's timeout wins over the file's, that over the default."""
    assert load_settings(environment={}).options.connect_timeout == 15
    write_env("TASKDB_CONNECT_TIMEOUT=30\n")
    assert load_settings(environment={}).options.connect_timeout == 30
    assert load_settings(environment={"TASKDB_CONNECT_TIMEOUT": "600"}).options.connect_timeout == 600
    assert load_settings(environment={"TASKDB_CONNECT_TIMEOUT": ""}).options.connect_timeout == 30


@pytest.mark.parametrize("value", ["ann", "Ann Lee (ops)", "김철수", "'; DROP TABLE users", "ä" * 200])
def test_an_actor(value):
    """TASKDB_ACTOR is any line that a person can see, and the user of the system without it."""
    assert load_settings(environment={"TASKDB_ACTOR": value}).options.origin.actor == value
    assert load_settings(environment={"TASKDB_ACTOR": f"  {value} "}).options.origin.actor == value
    assert load_settings(environment={"TASKDB_ACTOR": ""}).options.origin.actor == system_user()


@pytest.mark.parametrize(
    "value",
    [" ", "\u3164", "a" * 201, "a\nb", "a\tb", "a\x1b[1m", "a\x85", "a\u202eb", "a\u200bb", "a\udc80"],
)
def test_a_bad_actor_is_refused(value):
    """An actor is no name that says nothing, is too long, or shows something else than it is."""
    assert "TASKDB_ACTOR" in refused(environment={"TASKDB_ACTOR": value})


def test_a_password_in_the_query_is_hidden():
    """A password given as a parameter is shown no more than one in front of the host."""
    database = Database(parse_url("postgresql://127.0.0.1:1/d?password=canary&user=u", "here"))
    with pytest.raises(DatabaseUnavailable) as caught, database.connect():
        pass
    assert "127.0.0.1:1/d" in caught.value.message
    assert "canary" not in f"{caught.value.message} {caught.value.hint} {database.backend.place}"


def test_the_example_file_changes_nothing_as_it_is():
    """A copy of .env.example is a valid dotenv file whose settings are the defaults."""
    before = load_settings(environment={})
    write_env((Path(__file__).parent.parent / ".env.example").read_text())
    assert load_settings(environment={}) == before


def test_a_database_that_the_parameters_name_is_told_apart():
    """The name in the query part is the database's name, wherever it is shown or compared."""
    urls = [f"postgresql://ann@db.example.com/?dbname={name}" for name in ("a", "b")]
    first, second = (load_settings(database_url=url, environment={}).database().backend for url in urls)
    assert (first.place, second.place) == ("db.example.com:5432/a", "db.example.com:5432/b")
    assert (first.name, second.name) == ("a", "b")
