"""Where libpq connects to, in whichever way the server is named, and whether it asks for encryption."""

from pathlib import Path

import pytest

from taskdb_cli.config import load_settings
from taskdb_cli.database.postgresql.connection import connect_arguments
from taskdb_cli.database.url import shown
from taskdb_cli.errors import InvalidConfiguration
from tests.conftest import SERVERS
from tests.proxy import Proxy

FAR = "db.example.com"
POOLER = "ep-cool-sun-123456-pooler.eu-central-1.aws.neon.tech"
SERVICES = f"""\
[far]
host={FAR}
port=5433
dbname=work
user=ann
password=canary
connect_timeout=3
[prefer]
host={FAR}
sslmode=prefer
[disable]
host={FAR}
sslmode=disable
[near]
host=127.0.0.1
[hidden]
host=localhost
hostaddr=203.0.113.5
[several]
host=127.0.0.1,{FAR}
port=1,2
load_balance_hosts=random
target_session_attrs=prefer-standby
[neon]
host={POOLER}
[broken]
host
"""

LIBPQ_VARIABLES = (
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGDATABASE",
    "PGUSER",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGOPTIONS",
    "PGCONNECT_TIMEOUT",
)

pytestmark = pytest.mark.usefixtures("isolated", "services")


@pytest.fixture
def services(tmp_path, monkeypatch):
    """A service file, and none of libpq's other variables."""
    for name in LIBPQ_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "services"
    path.write_text(SERVICES)
    monkeypatch.setenv("PGSERVICEFILE", str(path))
    return path


def backend_of(url):
    """The backend of a URL as a setting has it."""
    return load_settings(database_url=url, environment={}).database().backend


def told(url):
    """What psycopg is told of a URL."""
    backend = backend_of(url)
    return connect_arguments(backend.target, backend.options)


# Without environment: the URL, the place that people see, and the sslmode that taskdb asks for.
URLS = [
    (f"postgresql://{FAR}/d", f"{FAR}:5432/d", "require"),
    (f"postgres://{FAR}:/d", f"{FAR}:5432/d", "require"),
    (f"postgresql+asyncpg://u:p@{FAR}:77/d", f"{FAR}:77/d", "require"),
    ("postgresql://10.0.0.7/d", "10.0.0.7:5432/d", "require"),
    ("postgresql://127.0.0.1.example.com/d", "127.0.0.1.example.com:5432/d", "require"),
    (f"postgresql:///d?host={FAR}", f"{FAR}:5432/d", "require"),
    (f"postgresql://localhost/d?host={FAR}", f"{FAR}:5432/d", "require"),
    (f"postgresql:///d?host=127.0.0.1,{FAR}", f"127.0.0.1:5432,{FAR}:5432/d", "require"),
    (f"postgresql:///d?host=127.0.0.1&host={FAR}", f"127.0.0.1:5432,{FAR}:5432/d", "require"),
    ("postgresql:///d?host=a,b&port=1,2", "a:1,b:2/d", "require"),
    ("postgresql:///d?host=a:1&host=b:2", "a:1,b:2/d", "require"),
    ("postgresql:///d?host=a,b&port=5", "a:5,b:5/d", "require"),
    ("postgresql://u@a:1,b/d", "a:1,b:5432/d", "require"),
    ("postgresql://%2Frun%2Fa,%2Frun%2Fb:3/d", "/run/a:5432,/run/b:3/d", None),
    ("postgresql://u@a:1,b:2/d", "a:1,b:2/d", "require"),
    ("postgresql://u:p,q@a,b:2/d", "a:5432,b:2/d", "require"),
    ("postgresql://a,/d", "a:5432,the local socket:5432/d", "require"),
    ("postgresql://u@[::1]:1,[2001:db8::1]/d", "[::1]:1,[2001:db8::1]:5432/d", "require"),
    (f"postgresql://{FAR}/d?hostaddr=10.0.0.7", f"{FAR} (10.0.0.7):5432/d", "require"),
    ("postgresql://localhost/d?hostaddr=203.0.113.5", "localhost (203.0.113.5):5432/d", "require"),
    (f"postgresql://{FAR}/d?hostaddr=127.0.0.1", f"{FAR} (127.0.0.1):5432/d", None),
    (f"postgresql://{FAR}/d?sslmode=verify-full", f"{FAR}:5432/d", "verify-full"),
    (f"postgresql://{FAR}/d?sslmode=prefer", f"{FAR}:5432/d", "prefer"),
    # libpq checks the host's name then by itself, and takes nothing weaker.
    (f"postgresql://{FAR}/d?sslrootcert=system", f"{FAR}:5432/d", None),
    (f"postgresql://{FAR}/d?sslnegotiation=direct", f"{FAR}:5432/d", "require"),
    ("postgresql:///?service=far", f"{FAR}:5433/work", "require"),
    ("postgresql:///other?service=far", f"{FAR}:5433/other", "require"),
    ("postgresql://localhost/?service=far", "localhost:5433/work", None),
    ("postgresql:///d?service=prefer", f"{FAR}:5432/d", None),
    ("postgresql:///d?service=disable", f"{FAR}:5432/d", None),
    ("postgresql:///d?service=near", "127.0.0.1:5432/d", None),
    ("postgresql:///d?service=hidden", "localhost (203.0.113.5):5432/d", "require"),
    ("postgresql:///d?service=several", f"127.0.0.1:1,{FAR}:2/d", "require"),
    ("postgresql://h/a%2Fb%20c%40%C3%A9?sslmode=disable", "h:5432/a/b c@é", "disable"),
    ("postgresql://localhost/d", "localhost:5432/d", None),
    ("postgresql://127.0.0.1/d", "127.0.0.1:5432/d", None),
    ("postgresql://[::1]/d", "[::1]:5432/d", None),
    ("postgresql:///d", "the local socket:5432/d", None),
    ("postgresql:///d?host=/run/postgresql", "/run/postgresql:5432/d", None),
    ("postgresql://%2Frun%2Fpostgresql:77/d", "/run/postgresql:77/d", None),
]


@pytest.mark.parametrize(("url", "place", "sslmode"), URLS)
def test_the_way_a_url_leads(url, place, sslmode):
    """Every way to name a server shows its place, and asks for encryption unless it is local."""
    assert backend_of(url).place == place
    assert told(url).get("sslmode") == sslmode


@pytest.mark.parametrize("url", [url for url, _, _ in URLS])
def test_a_url_is_shown_as_it_is_read(url):
    """What `config` shows of a URL leads to the same place."""
    database = load_settings(database_url=url, environment={}).database()
    assert backend_of(shown(database.url)).place == database.backend.place


ENVIRONMENTS = [
    ({"PGHOST": FAR}, "postgresql:///d", f"{FAR}:5432/d", "require"),
    ({"PGHOST": f"localhost,{FAR}", "PGPORT": "1,2"}, "postgresql:///d", f"localhost:1,{FAR}:2/d", "require"),
    ({"PGHOST": "/run/postgresql"}, "postgresql:///d", "/run/postgresql:5432/d", None),
    ({"PGHOST": FAR}, "postgresql://localhost/d", "localhost:5432/d", None),
    ({"PGHOSTADDR": "203.0.113.5"}, "postgresql://localhost/d", "localhost (203.0.113.5):5432/d", "require"),
    ({"PGHOSTADDR": "203.0.113.5"}, "postgresql:///d", "203.0.113.5:5432/d", "require"),
    ({"PGSERVICE": "far"}, "postgresql://", f"{FAR}:5433/work", "require"),
    ({"PGSERVICE": "far"}, "postgresql:///d?service=near", "127.0.0.1:5432/d", None),
    ({"PGSERVICE": "far", "PGHOST": "localhost"}, "postgresql:///d", f"{FAR}:5433/d", "require"),
    ({"PGSERVICE": "prefer"}, "postgresql:///d", f"{FAR}:5432/d", None),
    ({"PGSERVICE": "far", "PGSSLMODE": "disable"}, "postgresql:///d", f"{FAR}:5433/d", None),
    ({"PGSSLMODE": "prefer"}, f"postgresql://{FAR}/d", f"{FAR}:5432/d", None),
    ({"PGSSLROOTCERT": "system"}, f"postgresql://{FAR}/d", f"{FAR}:5432/d", None),
    ({"PGUSER": "ann"}, "postgresql://localhost", "localhost:5432/ann", None),
    ({"PGDATABASE": "work"}, "postgresql://localhost", "localhost:5432/work", None),
]


@pytest.mark.parametrize(("environment", "url", "place", "sslmode"), ENVIRONMENTS)
def test_the_way_the_environment_leads(monkeypatch, environment, url, place, sslmode):
    """The variables of libpq count as they do for libpq: after the URL and the service."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert backend_of(url).place == place
    assert told(url).get("sslmode") == sslmode


def test_psycopg_is_told_what_a_service_says(monkeypatch):
    """psycopg, which reads the environment but no service file, gets the hosts of the service."""
    monkeypatch.setenv("PGHOST", "127.0.0.9")
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "77")
    several, far = told("postgresql:///d?service=several"), told("postgresql:///d?service=far")
    assert (several["host"], several["port"]) == (f"127.0.0.1,{FAR}", "1,2")
    assert (several["load_balance_hosts"], several["target_session_attrs"]) == ("random", "prefer-standby")
    assert (far["connect_timeout"], several["connect_timeout"]) == ("3", 15)


def test_options_of_every_source(monkeypatch):
    """Options that are given twice, or by PGOPTIONS, are all sent, before the mark of taskdb."""
    twice = told("postgresql://localhost/d?options=-c%20a.a%3D1&options=-c%20b.b%3D2")["options"]
    assert twice == "-c a.a=1 -c b.b=2 -c taskdb.session=yes -c statement_timeout=300000"
    monkeypatch.setenv("PGOPTIONS", "-c c.c=3")
    plain = told("postgresql://localhost/d")["options"]
    assert plain == "-c c.c=3 -c taskdb.session=yes -c statement_timeout=300000"


NEON_WAYS = [
    ({}, f"postgresql://{POOLER}/neondb"),
    ({}, f"postgresql://{POOLER.upper()}./neondb"),
    ({}, f"postgresql:///neondb?host={POOLER},{POOLER}"),
    ({}, "postgresql:///neondb?service=neon"),
    ({"PGSERVICE": "neon"}, "postgresql:///neondb"),
    ({"PGHOST": POOLER}, "postgresql:///neondb"),
]


@pytest.mark.parametrize(("environment", "url"), NEON_WAYS)
def test_a_pooler_of_neon_in_every_way(monkeypatch, environment, url):
    """Neon's pooler is recognized wherever its name stands, and the direct endpoint follows from it."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(database_url=url, environment={})
    assert settings.options.pooled
    direct = settings.direct_database()
    assert not direct.options.pooled
    host = POOLER.replace("-pooler", "")
    assert {each.name.lower().strip(".") for each in direct.backend.target.hosts} == {host}
    assert direct.backend.name == "neondb"


@pytest.mark.parametrize("host", ["db-pooler.example.com", "db-pooler", "x-pooler.neon.tech.example.com"])
def test_a_pooler_of_somebody_else(host):
    """A name that merely ends in -pooler is no name of Neon's, and is left as it is."""
    settings = load_settings(database_url=f"postgresql://{host}/d", environment={})
    assert not settings.options.pooled
    assert settings.direct_url == settings.database_url


@pytest.mark.parametrize(
    ("direct", "same"),
    [("postgresql:///?service=far", True), ("postgresql:///other?service=far", False)],
)
def test_a_pair_by_way_of_a_service(direct, same):
    """Whether a pair names one database is asked of what libpq would connect to."""
    pair = {"DATABASE_URL": "postgresql://pooler/work", "DATABASE_URL_UNPOOLED": direct}
    if same:
        assert load_settings(environment=pair).direct_database().backend.place == f"{FAR}:5433/work"
        return
    with pytest.raises(InvalidConfiguration, match="two databases"):
        load_settings(environment=pair)


@pytest.mark.parametrize("engine", SERVERS, indirect=True)
def test_a_copy_onto_itself_by_way_of_a_service(bare_taskdb, services, url):
    """A database is the same one when a service names it."""
    parts = {"host": url.query["host"], "user": url.username, "dbname": url.database}
    services.write_text("[same]\n" + "".join(f"{name}={value}\n" for name, value in parts.items()))
    command = ("--database-url", url.render_as_string(), "copy", "--to", "postgresql:///?service=same")
    assert "both ends" in bare_taskdb(*command, expect=4).err


BAD = [
    ("postgresql:///d?service=nobody", "nobody"),
    ("postgresql:///d?service=broken", "syntax error in service file"),
    ("postgresql:///d?sslmode=bogus", "sslmode"),
    ("postgresql:///d?host=a,b&port=1,2,3", "3 port numbers"),
    ("postgresql:///d?host=a,b,c&port=1,2", "2 port numbers"),
    ("postgresql:///d?host=a,b&hostaddr=127.0.0.1", "hostaddr"),
    ("postgresql://a:1,b:canary/d", "port"),
    ("postgresql://u:canary@a:99999/d", "port"),
    ("postgresql://a:0/d", "port"),
    ("postgresql:///d?port=abc", "port"),
    ("postgresql://u:can:ary/d", "URL"),
    ("postgresql://[::1/d", "URL"),
    ("postgresql:///d?connect_timeout=abc", "connect_timeout"),
    ("postgresql:///d?keepalives_idle=abc", "keepalives_idle"),
    ("postgresql:///d?hostaddr=example.com", "hostaddr"),
    ("postgresql:///d?nonsense=1", "nonsense"),
    ("postgresql:///d?target_session_attrs=x", "target_session_attrs"),
    ("postgresql:///d?load_balance_hosts=x", "load_balance_hosts"),
    ("postgresql:///d?max_protocol_version=x", "max_protocol_version"),
    ("postgresql:///d?password=can%00ary", "NUL"),
    (f"postgresql://localhost/?dbname=host%3D{FAR}%20password%3Dcanary", "connection string"),
    (f"postgresql://localhost/?dbname=postgresql%3A//ann:canary%40{FAR}/d", "connection string"),
    ("postgresql://a%0Ab/d", "control character"),
    ("postgresql://localhost/?dbname=a%0Ab", "control character"),
]


@pytest.mark.parametrize(("url", "noun"), BAD)
def test_a_url_that_libpq_would_refuse(bare_taskdb, url, noun):
    """What cannot work is refused in one line before anything connects, without what may be a password."""
    refused = bare_taskdb("--database-url", url, "user", "list", expect=2)
    assert refused.err.startswith("error: ")
    assert refused.err.count("\n") == 1
    assert noun in refused.err
    assert "can" not in refused.err


@pytest.mark.parametrize("value", ["missing", "."])
def test_an_unreadable_service_file(bare_taskdb, monkeypatch, value):
    """A service file that is named and cannot be read is refused by its name."""
    monkeypatch.setenv("PGSERVICEFILE", str(Path(value).resolve()))
    refused = bare_taskdb("--database-url", "postgresql:///d?service=far", "user", "list", expect=2)
    assert refused.err.count("\n") == 1
    assert "far" in refused.err or str(Path(value).resolve()) in refused.err


ALIAS = "0.0.0.0"
"""An address that no rule takes for a local one, and that leads to the proxy."""

WAYS = [
    ({}, "postgresql://{user}@{alias}:{port}/{name}"),
    ({}, "postgresql://{user}@{alias}:{port},{alias}:{port}/{name}"),
    ({}, "postgresql://{user}@localhost:{port}/{name}?hostaddr={alias}"),
    ({}, "postgresql:///{name}?service=there"),
    ({"PGSERVICE": "there"}, "postgresql:///{name}"),
    ({"PGHOST": "{alias}", "PGPORT": "{port}", "PGUSER": "{user}"}, "postgresql:///{name}"),
    ({"PGHOSTADDR": "{alias}"}, "postgresql://{user}@localhost:{port}/{name}"),
]


@pytest.mark.parametrize("engine", [SERVERS[-1]], indirect=True)
def test_nothing_goes_out_in_clear(bare_taskdb, monkeypatch, services, url):
    """A server on another machine that cannot encrypt gets no word in clear, however it is named."""
    with Proxy(url) as proxy:
        given = {"user": url.username, "port": proxy.port, "name": url.database, "alias": ALIAS}
        services.write_text("[there]\nhost={alias}\nport={port}\nuser={user}\n".format(**given))
        for environment, way in WAYS:
            with monkeypatch.context() as patch:
                for name, value in environment.items():
                    patch.setenv(name, value.format(**given))
                command = ("--database-url", way.format(**given), "user", "list")
                assert "SSL" in bare_taskdb(*command, expect=5).err
                patch.setenv("PGSSLMODE", "disable")
                bare_taskdb(*command)


@pytest.mark.parametrize(
    ("one", "other", "is_shared"),
    [
        ("db.example.com/d", "DB.Example.Com./d", True),
        ("db.example.com/d", "db.example.com:5432/d", True),
        ("db.example.com/d", "db.example.com:05432/d", True),
        ("db.example.com/d", "a.example.com,db.example.com/d", True),
        ("a.example.com,b.example.com/d", "c.example.com,b.example.com/d", True),
        ("a.example.com:1,b.example.com/d", "a.example.com,b.example.com:1/d", False),
        ("db.example.com/d", "/d?host=x&hostaddr=10.0.0.1", False),
        ("10.0.0.1/d", "/d?host=x&hostaddr=10.0.0.1", True),
        ("10.0.0.1/d", "0x0a000001/d", True),
        ("[2001:db8::1]/d", "[2001:DB8:0:0::1]/d", True),
        ("localhost/d", "LocalHost./d", True),
        ("localhost/d", "127.0.0.1/d", True),
        ("localhost/d", "127.1/d", True),
        ("localhost/d", "[::1]/d", True),
        ("localhost/d", "/d", True),
        ("localhost/d", "/d?host=/elsewhere", True),
        ("ep-x-1.eu.aws.neon.tech/d", "EP-X-1-pooler.eu.aws.neon.tech/d", True),
        ("db.example.com/d", "db.example.com/D", False),
        ("db.example.com/d", "db.example.com:5433/d", False),
        ("db.example.com/d", "db2.example.com/d", False),
    ],
)
def test_spellings_of_one_server(one, other, is_shared):
    """Addresses are compared without their spelling, and all those of this machine are one."""
    found = [load_settings(database_url=f"postgresql://{each}", environment={}) for each in (one, other)]
    first, second = (each.database().backend.whereabouts() for each in found)
    assert bool(first & second) == is_shared
