"""How archives are named, and what a label is."""

import re
from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from taskdb_cli.backup.file_names import (
    SAFETY_SUFFIX,
    archive_name,
    check_label,
    default_label,
    label_of,
    parse_name,
)
from taskdb_cli.database.options import Options
from taskdb_cli.database.postgresql.target import distinction
from taskdb_cli.database.sqlite.engine import SQLite
from taskdb_cli.errors import (
    InvalidInput,
)
from taskdb_cli.exit_codes import ExitCode
from tests.backups import NAME, put
from tests.conftest import NOW

ARABIC = {ord(str(digit)): chr(0x660 + digit) for digit in range(10)}


def test_the_name_says_label_and_time():
    assert archive_name("tasks", NOW) == NAME
    assert archive_name("tasks", NOW, encrypted=True) == f"{NAME}.age"
    assert parse_name(NAME) == parse_name(f"{NAME}.age") == ("tasks", NOW)


def test_the_name_is_in_utc_whatever_the_zone_of_the_time():
    assert archive_name("tasks", NOW.astimezone(timezone(timedelta(hours=-11)))) == NAME


labels = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", fullmatch=True)


@given(label=labels, at=st.datetimes(timezones=st.just(UTC)))
def test_every_name_is_read_as_it_was_written(label, at):
    assert parse_name(archive_name(label, at)) == (label, at)


@pytest.mark.parametrize(
    "label", ["", "-x", ".x", "_x", "a/b", "a b", "é", "a\n", "a+b", "x" * 101, "a\x00", "../x", chr(0x663)]
)
def test_what_is_no_label_is_refused(label):
    with pytest.raises(InvalidInput, match="is not a label") as caught:
        check_label(label)
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("label", ["a", "0", "x" * 100, "a-b_c.d", "a-20261122T123015.123456Z"])
def test_a_label_is_accepted(label):
    assert check_label(label) == label
    assert parse_name(archive_name(label, NOW)) == (label, NOW)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("neondb", "neondb"),
        ("my tasks", "my-tasks"),
        ("tasks.sqlite3", "tasks.sqlite3"),
        ("a/b//c", "a-b-c"),
        (".hidden", "hidden"),
        ("-rf", "rf"),
        ("été", "t"),
        ("タスク", "database"),
        ("", "database"),
        ("x" * 300, "x" * 100),
        ("a\nb\x00c", "a-b-c"),
        ("end!", "end"),
    ],
)
def test_a_database_name_becomes_a_label(name, label):
    assert label_of(name) == label


@given(st.text(), st.text())
def test_every_name_becomes_a_label(name, host):
    assert check_label(label_of(name))
    label = default_label(name, distinction(f"{host}:5432"))
    assert check_label(label + SAFETY_SUFFIX)


LONG = "a-very-long-name-of-a-server.in-some-department.example.com"


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("ep-cool-name-123456.eu-central-1.aws.neon.tech:5432", "ep-cool-name-123456"),
        ("ep-cool-name-123456-pooler.eu-central-1.aws.neon.tech:5432", "ep-cool-name-123456"),
        ("EP-Cool-Name-123456.eu-central-1.aws.neon.tech.:5432", "ep-cool-name-123456"),
        ("db.example.com:5432", "db.example.com"),
        ("db.example.com:6000", "db.example.com-6000"),
        ("localhost:5432", "localhost"),
        ("127.0.0.1:5433", "localhost-5433"),
        ("[::1]:5432", "localhost"),
        ("db.example.com (10.0.0.5):5432", "db.example.com"),
        ("localhost (10.0.0.5):5432", "10.0.0.5"),
        ("db-pooler.example.com:5432", "db-pooler.example.com"),
        ("the local socket:5432", "localhost"),
        ("/var/run/postgresql:5432", "localhost"),
        ("10.0.0.5:5432", "10.0.0.5"),
    ],
)
def test_what_sets_a_server_apart(server, words):
    """The host is read as it is; what is this machine, or a pooler of Neon, has one name."""
    assert distinction(server) == words


def test_several_servers_have_one_name_in_any_order():
    """The label of a list of hosts stays when their order changes, or one is named twice."""
    words = distinction("b.example.com:5432,a.example.com:5433")
    assert words.startswith("a.example.com-5433-b.example.com-")
    assert distinction("a.example.com:5433,B.Example.Com.:5432") == words
    assert distinction("a.example.com:5432,b.example.com:5433") != words
    assert distinction("a.example.com:5432,a.example.com:5432") == "a.example.com"
    assert check_label(distinction("[::1]:5432,[2001:db8::1]:5432"))


def test_servers_that_differ_at_all_are_set_apart():
    """A name that is shortened, or loses characters, ends in a hash of the whole."""
    servers = [LONG, LONG + ".", f"x{LONG}", LONG.replace("com", "org"), "a,b", "a-b", "/a/b", "/a-b"]
    servers += ["[1::2:3]", "[1:2::3]", "a:5432,b", "a,b:5432"]
    words = [distinction(f"{server}:5432") for server in servers]
    assert len(set(words)) == len(set(servers)) - 1, words
    assert words[0] == words[1]
    assert all(len(each) <= 40 for each in words)


def test_files_of_one_name_are_set_apart(tmp_path):
    """The default label of a file holds a hash of its path."""
    backends = [SQLite(make_url(f"sqlite:///{tmp_path}/{name}/app.sqlite3"), Options()) for name in "ab"]
    labels = [default_label(each.name, each.distinction) for each in backends]
    assert len(set(labels)) == 2
    assert all(re.fullmatch("app-[0-9a-f]{6}", label) for label in labels)


@pytest.mark.parametrize(
    "name",
    [
        "tasks.taskdb.zip",
        "tasks-20261122T123015Z.taskdb.zip",
        "tasks-20261322T123015.123456Z.taskdb.zip",
        "tasks-20261122T126015.123456Z.taskdb.zip",
        "tasks-20261122T123060.123456Z.taskdb.zip",
        "tasks-20270229T123015.123456Z.taskdb.zip",
        "tasks-00001122T123015.123456Z.taskdb.zip",
        f"tasks-{20261122:d}".translate(ARABIC) + "T123015.123456Z.taskdb.zip",
        "-20261122T123015.123456Z.taskdb.zip",
        f"{NAME}.part",
        f"{NAME}.age.age",
        f"{NAME}.AGE",
        f"{NAME.removesuffix('.zip')}.age",
        f"{NAME}\n",
        f" {NAME}",
        f"{'x' * 101}-20261122T123015.123456Z.taskdb.zip",
        NAME.upper(),
    ],
)
def test_what_is_not_well_named_is_no_archive(directory, name):
    assert parse_name(name) is None
    put(directory, name)
    assert directory.entries() == []


def test_any_schema_is_part_of_the_label():
    """Schemas of any name give labels that are valid and different."""
    schemas = [None, "a b", "a-b", "A b", "x" * 62, "x" * 63, "\u00fcmlaut", "../..", "--"]
    labels = {default_label("n" * 80, distinction(f"{'h' * 60}:6543", schema)) for schema in schemas}
    assert len(labels) == len(schemas)
    for label in labels:
        assert check_label(label + SAFETY_SUFFIX)
