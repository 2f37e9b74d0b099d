"""A URL that lists several hosts, of which one answers: a primary and its standby."""

import json

import pytest

from taskdb_cli.database.postgresql import transactions
from taskdb_cli.errors import TransactionConflict
from tests.completion import ask_for_words
from tests.conftest import open_database
from tests.samples import add_task, add_user, emails

PRIMARY = "&target_session_attrs=primary"


@pytest.fixture
def servers(standby, replication):
    """The sockets of the primary and the standby, and the name of a database with a task."""
    database = open_database(standby[0])
    add_user(database)
    add_task(database)
    replication.catch_up()
    return *(str(url.query["host"]) for url in standby), standby[0].database


@pytest.fixture
def address(servers, isolated):
    """Makes the URL of the hosts in an order; a host that is not there is among them."""
    primary, standby, name = servers
    places = {"primary": primary, "standby": standby, "nobody": "/nowhere"}

    def make(*order, more=""):
        hosts = ",".join(places[each] for each in order)
        return f"postgresql://postgres@/{name}?host={hosts}{more}"

    return make


def shown_as(url):
    """A URL with its hosts in front, as `config` shows it."""
    begin, _, query = url.partition("?")
    hosts, *more = query.split("&")
    where = hosts.removeprefix("host=").replace("/", "%2F")
    return f"{begin.replace('@', f'@{where}')}?{'&'.join(more)}"


def listed(taskdb):
    return json.loads(taskdb("backup", "list", "-o", "json").out)


def test_archives_are_of_one_database(address, servers, bare_taskdb, shelf, monkeypatch):
    """The label and the place of archives are the same in any order of the hosts, whichever has answered."""
    monkeypatch.delenv("TASKDB_BACKUP_LABEL")
    for order in (("primary", "standby"), ("standby", "primary")):
        monkeypatch.setenv("TASKDB_DATABASE_URL", address(*order))
        bare_taskdb("backup")
        bare_taskdb("health", "--only", "backup,backup_archive")
        assert "verified" in bare_taskdb("backup", "verify", "latest").err
    first, second = listed(bare_taskdb)
    assert (first["label"], first["place"]) == (second["label"], second["place"])
    assert sorted(servers[:2]) == [
        each.removesuffix(":5432") for each in first["place"][: -len(servers[2]) - 1].split(",")
    ]
    bare_taskdb("backup", "prune", "--keep-last", 1, "--keep-at-least", 1)
    assert listed(bare_taskdb) == [second]


def test_every_place_takes_a_list(address, bare_taskdb, tmp_path, servers):
    """Settings, profiles and targets take a list, and what is read and written is on the right server."""
    primary = address("nobody", "standby", "primary", more=PRIMARY)
    replica = address("primary", "nobody", "standby", more="&target_session_attrs=standby")
    home = tmp_path / "home" / ".config" / "taskdb"
    home.mkdir(parents=True)
    lines = f"database_url = '{primary}'\ndirect_url = '{primary}'\nread_url = '{replica}'\n"
    (home / "config.toml").write_text(f"[profiles.work]\nprotected = true\n{lines}")
    for words in ((), ("--replica",)):
        bare_taskdb("--profile", "work", "task", "list", *words)
    bare_taskdb("--profile", "work", "task", "create", "--user", "1", "Another")
    shown = json.loads(bare_taskdb("--profile", "work", "config", "--check", "-o", "json").out)
    assert shown["database"]["place"].startswith(servers[0])
    settings = {each["name"]: each["value"] for each in shown["settings"]}
    assert settings["read_url"] == shown_as(replica)
    # One of the hosts is that of the protected profile.
    alone = address("primary")
    refused = bare_taskdb("--database-url", alone, "user", "delete", "1", "--yes", expect=9)
    assert "protected" in refused.err


def test_targets_take_a_list(address, bare_taskdb, tmp_path, standby, shelf):
    """`copy --to` and `--drill-url` reach the primary of a list, and a standby says what it is."""
    bare_taskdb(
        "--database-url", "old.sqlite3", "user", "create", "--email", "bob@example.com", "--name", "B"
    )
    target, either = address("standby", "primary", more=PRIMARY), address("standby", "primary")
    copy = ("--database-url", "old.sqlite3", "copy", "--to")
    assert "standby" in bare_taskdb(*copy, either, "--replace", "--yes", expect=1).err
    bare_taskdb(*copy, target, "--replace", "--yes")
    assert emails(open_database(standby[0])) == ["bob@example.com"]
    bare_taskdb("--database-url", "old.sqlite3", "backup")
    words = ("--database-url", "old.sqlite3", "backup", "verify", "latest", "--drill", "--drill-url")
    assert "1 user" in bare_taskdb(*words, target, expect=4).err


def test_a_copy_onto_the_primary_of_a_standby(address, bare_taskdb):
    """What a standby has is not copied onto its own primary, which may have more."""
    for source in (address("standby"), address("standby", "primary")):
        words = ("--database-url", source, "copy", "--to", address("primary"), "--replace", "--yes")
        assert "standby" in bare_taskdb(*words, expect=4).err
    bare_taskdb("--database-url", address("standby"), "copy", "--to", "elsewhere.sqlite3")


def test_completion(address, capfd, monkeypatch):
    """Users are completed from a list of hosts."""
    monkeypatch.setenv("TASKDB_DATABASE_URL", address("nobody", "standby"))
    assert "ann@example.com" in ask_for_words(capfd, monkeypatch, "bash", "user", "show", "a")


def test_passwords(bare_taskdb):
    """An error of a list names each host, and shows no password."""
    url = "postgresql://ann:canary@127.0.0.1:1,127.0.0.1:2/work?connect_timeout=1"
    failed = bare_taskdb("--database-url", url, "user", "list", expect=5).err
    assert "127.0.0.1:1: " in failed
    assert "127.0.0.1:2: " in failed
    assert "canary" not in failed
    assert "canary" not in bare_taskdb("--database-url", url, "config").out


def test_the_outcome_of_a_commit_is_not_asked_of_a_standby(standby):
    """A standby may not have replayed a commit, so it does not say that there was none."""
    with open_database(standby[1]).connect() as connection, pytest.raises(TransactionConflict):
        transactions.is_committed("999999999", "", "here", connection)
