"""How archives are named, and what a label is."""

from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskdb_cli.errors import (
    ExitCode,
    InvalidInput,
)
from taskdb_cli.services.backup.names import archive_name, check_label, label_of, parse_name
from tests.backups import NAME, empty_directory, put
from tests.conftest import NOW

ARABIC = {ord(str(digit)): chr(0x660 + digit) for digit in range(10)}


@pytest.fixture
def directory(tmp_path):
    """A backup directory that exists."""
    return empty_directory(tmp_path)


def test_the_name_says_label_and_time():
    assert archive_name("tasks", NOW) == NAME
    assert parse_name(NAME) == ("tasks", NOW)


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


@given(st.text())
def test_every_name_becomes_a_label(name):
    assert check_label(label_of(name))


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
