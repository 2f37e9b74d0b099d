"""taskdb token, from the outside."""

import json
import re


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
    assert list(body) == ["id", "name", "token"]
    assert (body["id"], body["name"]) == (1, "ann")
    assert taskdb("token", "list").out.split("\t")[:4] == ["1", "ann", "write", "ann@example.com"]


def test_create_as_values(taskdb):
    """As CSV or TSV it is the same values, and a table on a terminal is the token alone, uncropped."""
    header, line = taskdb("token", "create", "--name", "a", "-o", "csv").out.splitlines()
    assert header == "id,name,token"
    assert line.startswith("1,a,taskdb_")
    assert taskdb("token", "create", "--name", "b", "-o", "tsv").out.startswith("2\tb\ttaskdb_")
    assert taskdb("token", "create", "--name", "c", "-o", "table").out.startswith("taskdb_")


def test_bad_input(taskdb):
    """Each refusal says what is wrong, with its exit code."""
    taskdb("token", "create", "--name", "cron")
    assert "exists already" in taskdb("token", "create", "--name", "cron", expect=4).err
    assert "name is empty" in taskdb("token", "create", "--name", " ", expect=2).err
    assert "'all' is not one of" in taskdb("token", "create", "--name", "x", "--scope", "all", expect=2).err
    assert "user 9 not found" in taskdb("token", "create", "--name", "x", "--user", "9", expect=3).err
    assert "access token x not found" in taskdb("token", "revoke", "x", expect=3).err


def test_revoke(taskdb):
    """A revoked token is gone from the list; nothing is asked."""
    taskdb("token", "create", "--name", "cron")
    assert "revoked cron" in taskdb("token", "revoke", "cron").err
    assert taskdb("token", "list", "-o", "json").out == "[]\n"


def test_the_log_has_no_token(taskdb):
    """Even with SQL in it, the log holds neither the token nor its hash."""
    from hashlib import sha256

    made = taskdb("-vv", "token", "create", "--name", "cron")
    secret = made.out.strip()
    assert "INSERT INTO access_tokens" in made.err
    assert secret not in made.err
    assert sha256(secret.encode()).hexdigest() not in made.err
