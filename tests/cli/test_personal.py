"""taskdb user export --everything, from the outside."""

import json

import pytest

from tests.conftest import open_database
from tests.samples import add_token

ANN, BOB = "ann@example.com", "bob@example.com"
DESCRIPTION = 'one\ntwo "\u202e'


@pytest.fixture
def filled(taskdb, url, monkeypatch):
    """The command line on Ann and Bob, with a task each and one that was first Ann's."""
    for email in (ANN, BOB):
        taskdb("user", "create", "--email", email, "--name", email[:3])
    for user in (ANN, BOB, ANN):
        taskdb("task", "create", f"of {user}", "-u", user, "--description", DESCRIPTION)
    add_token(open_database(url), "phone", ANN)
    monkeypatch.setenv("TASKDB_ACTOR", ANN)
    taskdb("task", "update", 3, "-u", BOB, "-p", "urgent")
    monkeypatch.delenv("TASKDB_ACTOR")
    taskdb("task", "update", 3, "--title", "what Bob does")
    return taskdb


def exported(taskdb, user):
    out = taskdb("user", "export", user, "--everything").out
    assert "\u202e" not in out
    return json.loads(out)


def test_everything(filled):
    """It has the user, their tasks and tokens, and the history while it was theirs, and nothing of others."""
    found = exported(filled, ANN)
    assert (found["id"], found["addresses"], found["user"]["email"]) == (1, [ANN], ANN)
    assert [each["description"] for each in found["tasks"]] == [DESCRIPTION]
    assert found["tasks"] == json.loads(filled("task", "export", "-u", ANN, "-o", "json").out)
    assert [(each["name"], each["user_id"]) for each in found["tokens"]] == [("phone", 1)]
    assert "token_hash" not in found["tokens"][0]
    told = [(each["table"], each["id"], each["action"]) for each in found["history"]]
    assert told == [
        ("user", 1, "created"),
        ("task", 1, "created"),
        ("task", 3, "created"),
        ("token", 1, "created"),
        ("task", 3, "updated"),
    ]
    moved = found["history"][-1]
    assert (moved["command"], moved["actor"]) == ("task update", ANN)
    assert moved["fields"] == {
        "user_id": {"old": 1, "new": 2},
        "priority": {"old": "medium", "new": "urgent"},
    }
    assert [(each["command"], each["rows"]) for each in found["operations"]] == [("task update", 1)]
    assert found["operations"][0]["at"] == moved["at"]
    assert BOB not in json.dumps(found)
    assert "what Bob does" not in json.dumps(found)


def test_a_deleted_user(filled):
    """Of a user who is deleted it has what the history knows."""
    filled("user", "delete", ANN, "--yes")
    found = exported(filled, ANN)
    assert found == {**exported(filled, "1"), "exported_at": found["exported_at"]}
    assert (found["user"], found["tasks"], found["tokens"]) == (None, [], [])
    gone = {each["table"]: each["fields"] for each in found["history"] if each["action"] == "deleted"}
    assert gone["user"]["email"] == {"old": ANN, "new": None}
    assert gone["task"]["description"] == {"old": DESCRIPTION, "new": None}
    filled("user", "erase", ANN, "--yes")
    assert filled("user", "export", ANN, "--everything", expect=3).out == ""


@pytest.mark.parametrize(
    "words",
    [(ANN,), ("--everything",), (ANN, "--everything", "-o", "csv"), (ANN, "--everything", "-o", "ndjson")],
)
def test_half_of_the_options(filled, words):
    """A user without --everything, --everything without a user, and another format than JSON are refused."""
    assert filled("user", "export", *words, expect=2).out == ""
    filled("user", "export", ANN, "--everything", "-o", "json")
