"""taskdb token, from the outside."""

import json
import re
from datetime import datetime, timedelta

import pytest

from taskdb_cli.models.vocabulary import TOKEN_FIELDS


def test_create_shows_the_token_once(taskdb):
    """The token alone is on stdout, and no other command ever prints it."""
    made = taskdb("token", "create", "--name", "dash[board]")
    assert re.fullmatch(r"taskdb_[\w-]{43}\n", made.out)
    assert "dash[board] may read everything; the token is not shown again" in made.err
    secret = made.out.strip()
    for output in ("table", "tsv", "json", "ndjson", "csv"):
        shown = taskdb("token", "list", "-o", output)
        assert "dash[board]" in shown.out
        assert secret not in shown.out
        assert secret[7:] not in shown.out


def test_create_as_json(taskdb):
    """As JSON the token comes with its id and name."""
    taskdb("user", "create", "--email", "ann@example.com", "--name", "Ann")
    made = taskdb(
        "token", "create", "--name", "ann", "--user", "ann@example.com", "--scope", "write", "-o", "json"
    )
    body = json.loads(made.out)
    assert list(body) == ["id", "name", "token", "expires_at"]
    assert (body["id"], body["name"]) == (1, "ann")
    assert taskdb("token", "list").out.split("\t")[:4] == ["1", "ann", "write", "ann@example.com"]


def test_create_as_values(taskdb):
    """As CSV or TSV it is the same values, and a table on a terminal is the token alone, uncropped."""
    header, line = taskdb("token", "create", "--name", "a", "-o", "csv").out.splitlines()
    assert header == "id,name,token,expires_at"
    assert line.startswith("1,a,taskdb_")
    assert taskdb("token", "create", "--name", "b", "-o", "tsv").out.startswith("2\tb\ttaskdb_")
    assert taskdb("token", "create", "--name", "c", "-o", "table").out.startswith("taskdb_")


@pytest.mark.parametrize(
    ("given", "expires_at"),
    [
        ("2999-01-01", "2999-01-01T00:00:00Z"),
        ("2999-01-01T12:00", "2999-01-01T12:00:00Z"),
        ("2999-01-01T12:00:00.25+02:00", "2999-01-01T10:00:00.250000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_an_expiry(taskdb, given, expires_at):
    """A token expires when it is told to, in UTC unless another zone is named; every format shows it."""
    made = taskdb("token", "create", "--name", "cron", "--expires", given)
    assert f"until {expires_at};" in made.err
    [record] = json.loads(taskdb("token", "list", "-o", "json").out)
    assert list(record) == [*TOKEN_FIELDS]
    assert (record["expires_at"], record["last_used_at"]) == (expires_at, None)
    assert taskdb("token", "list", "-o", "tsv").out.split("\t")[5:] == [expires_at, "\n"]
    header, line = taskdb("token", "list", "-o", "csv").out.splitlines()
    assert header.endswith("created_at,expires_at,last_used_at")
    assert line.endswith(f"{expires_at},")
    assert "Expires" in taskdb("token", "list", "-o", "table").out
    body = json.loads(taskdb("token", "create", "--name", "ci", "--expires", given, "-o", "json").out)
    assert body["expires_at"] == expires_at


@pytest.mark.parametrize(("given", "hours"), [("90d", 2160), ("+2w", 336), ("12h", 12)])
def test_an_expiry_from_now_on(taskdb, given, hours):
    """An offset counts from now, with or without a sign."""
    taskdb("token", "create", "--name", "cron", "--expires", given)
    [record] = json.loads(taskdb("token", "list", "-o", "json").out)
    created, expires = (datetime.fromisoformat(record[field]) for field in ("created_at", "expires_at"))
    assert expires - created == timedelta(hours=hours)


PAST = ("0d", "-1d", "-90d", "2020-01-01", "2020-01-01T00:00:00Z")
NO_TIME = ("", "now", "tomorrow", "90", "90m", "d", "90d ", "+-1d", "1e9d", "9" * 5000 + "d", "2999-02-30")
TOO_LATE = ("999999w", "9999-12-31T23:59:59-01:00", "10000-01-01")


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize("given", [*PAST, *NO_TIME, *TOO_LATE])
def test_a_bad_expiry(taskdb, given):
    """What is no time after now is refused, and nothing is made."""
    failed = taskdb("token", "create", "--name", "cron", "--expires", given, expect=2)
    assert failed.err.count("\n") == 1
    assert taskdb("token", "list", "-o", "json").out == "[]\n"


def test_bad_input(taskdb):
    """Each refusal says what is wrong, with its exit code."""
    taskdb("token", "create", "--name", "cron")
    assert "exists already" in taskdb("token", "create", "--name", "cron", expect=4).err
    assert "name is a number" in taskdb("token", "create", "--name", "\uff10\uff11", expect=2).err
    assert "name is empty" in taskdb("token", "create", "--name", " ", expect=2).err
    assert (
        "--scope takes read or write, not 'all'"
        in taskdb("token", "create", "--name", "x", "--scope", "all", expect=2).err
    )
    assert "user 9 not found" in taskdb("token", "create", "--name", "x", "--user", "9", expect=3).err
    assert "access token x not found" in taskdb("token", "revoke", "x", expect=3).err


def test_revoke(taskdb):
    """A revoked token is gone from the list; nothing is asked."""
    taskdb("token", "create", "--name", "cron")
    taskdb("token", "create", "--name", "ci")
    assert "revoked cron, token 1" in taskdb("token", "revoke", "cron").err
    assert "revoked ci, token 2" in taskdb("token", "revoke", "2").err
    assert taskdb("token", "list", "-o", "json").out == "[]\n"


def test_the_log_has_no_token(taskdb):
    """Even with SQL in it, the log holds neither the token nor its hash."""
    from hashlib import sha256

    made = taskdb("-vv", "token", "create", "--name", "cron")
    secret = made.out.strip()
    assert "INSERT INTO access_tokens" in made.err
    assert secret not in made.err
    assert sha256(secret.encode()).hexdigest() not in made.err
