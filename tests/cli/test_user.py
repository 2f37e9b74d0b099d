"""taskdb user, from the outside."""

import json

import pytest

from tests.conftest import open_database
from tests.samples import add_task, emails, titles

ANN = ("--email", "ann@example.com", "--name", "Ann")
SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.fixture
def ann(taskdb):
    return json.loads(taskdb("user", "create", *ANN, "-o", "json").out)


@pytest.fixture
def bob(taskdb, ann):
    created = taskdb(
        "user", "create", "--email", "bob@example.com", "--name", "Bob", "--inactive", "-o", "json"
    )
    return json.loads(created.out)


def test_create_prints_the_record(taskdb):
    """A created user is printed with every field, its address in lower case."""
    made = taskdb("user", "create", "--email", "Ann@Example.com", "--name", "Ann", "-o", "json")
    record = json.loads(made.out)
    assert made.out == (
        "{\n"
        '  "id": 1,\n'
        '  "email": "ann@example.com",\n'
        '  "name": "Ann",\n'
        '  "is_active": true,\n'
        '  "version": 1,\n'
        f'  "created_at": "{record["created_at"]}",\n'
        f'  "updated_at": "{record["created_at"]}"\n'
        "}\n"
    )
    assert made.err == ""


def test_create_taken(taskdb, ann):
    """An address that is taken is a conflict, unless the existing user will do."""
    refused = taskdb("user", "create", "--email", "ANN@example.com", "--name", "Other", expect=4)
    assert refused.err.startswith("error: a user with the e-mail address ann@example.com exists already (")
    assert refused.err.count("\n") == 1
    existing = taskdb("user", "create", *ANN[:3], "Other", "--if-not-exists", "-o", "json")
    assert json.loads(existing.out) == ann


def test_list(taskdb, bob):
    """Users are listed by id, all or by whether they are active."""
    assert taskdb("user", "list").out == "1\tann@example.com\tAnn\ttrue\n2\tbob@example.com\tBob\tfalse\n"
    assert taskdb("user", "list", "--active").out == "1\tann@example.com\tAnn\ttrue\n"
    assert [user["id"] for user in json.loads(taskdb("user", "list", "--inactive", "-o", "json").out)] == [2]


def test_show(taskdb, ann):
    """A user is shown by id or by address."""
    for ref in ("1", "ann@example.com", "ANN@EXAMPLE.COM"):
        assert json.loads(taskdb("user", "show", ref, "-o", "json").out) == ann


def test_update(taskdb, ann):
    """What is named changes, what is not stays, and the version says so."""
    changed = taskdb(
        *("user", "update", "1", "--email", "Lee@example.com", "--name", "Ann Lee", "--inactive"),
        *("--if-version", 1, "-o", "json"),
    )
    record = json.loads(changed.out)
    assert record | {"updated_at": None} == ann | {
        "email": "lee@example.com",
        "name": "Ann Lee",
        "is_active": False,
        "version": 2,
        "updated_at": None,
    }
    assert json.loads(taskdb("user", "update", "1", "--inactive", "-o", "json").out) == record
    assert json.loads(taskdb("user", "update", "1", "--active", "-o", "json").out)["version"] == 3


def test_update_refused(taskdb, bob):
    """A taken address and a stale version are conflicts, and nothing changes."""
    before = taskdb("user", "list", "-o", "json").out
    taken = taskdb("user", "update", "1", "--email", "bob@example.com", "--name", "Other", expect=4)
    assert taken.err.startswith("error: a user with the e-mail address bob@example.com exists already")
    stale = taskdb("user", "update", "1", "--name", "Other", "--if-version", "2", expect=4)
    assert stale.err == (
        "error: user 1 is at version 1, not 2 (look at it again with 'taskdb user show 1')\n"
    )
    assert taskdb("user", "list", "-o", "json").out == before


def test_unknown_user(taskdb, ann):
    """A user who does not exist is not found, by any command."""
    for arguments in (
        ["show", "7"],
        ["update", "7", "--name", "X"],
        ["delete", "7", "--yes"],
        ["delete", "7"],
        ["delete", "7", "--dry-run"],
        ["delete", "1", "7", "--yes"],
        ["delete", "1", "--reassign-to", "7", "--yes"],
    ):
        failed = taskdb("user", *arguments, expect=3)
        assert failed.err == "error: user 7 not found ('taskdb user list' shows the users)\n"
    for ref in ("nobody@example.com", "nobody", "", "-1", "9" * 30, "9" * 5000, "a\x00b", "\udcff"):
        taskdb("user", "show", "--", ref, expect=3)
    assert taskdb("user", "list").out == "1\tann@example.com\tAnn\ttrue\n"


@SQLITE_ONLY
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["create", "--email", "", "--name", "A"], "email is not an e-mail address"),
        (["create", "--email", "ann", "--name", "A"], "email is not an e-mail address"),
        (
            ["create", "--email", "a\x00@example.com", "--name", "A"],
            "email contains the control character U+0000",
        ),
        (["create", "--email", "\udcff@example.com", "--name", "A"], "email is not valid UTF-8"),
        (["create", "--email", "a@example.com", "--name", " "], "name is empty"),
        (["create", "--email", "a@example.com", "--name", "n" * 201], "name has 201 characters"),
        (
            ["create", "--email", "a@example.com", "--name", "a\nb"],
            "name contains the control character U+000A",
        ),
        (["create", "--email", "a@example.com", "--name", "\udcff"], "name is not valid UTF-8"),
        (["create", "--email", "a@example.com"], "missing option '--name'"),
        (["create", "--name", "A"], "missing option '--email'"),
        (["create", "a@example.com"], "unexpected 'a@example.com'"),
        (["update", "1", "--name", ""], "name is empty"),
        (["update", "1", "--email", ""], "email is not an e-mail address"),
        (["update", "1", "--if-version", "0"], "--if-version takes"),
        (["update", "1", "--if-version", "x"], "--if-version takes"),
        (["update"], "missing argument 'USER'"),
        (["show"], "missing argument 'USER'"),
        (["delete"], "missing argument 'USER…'"),
        (
            ["delete", "1", "--reassign-to", "ann@example.com", "--yes"],
            "user ann@example.com is deleted too",
        ),
        (["list", "-o", "xml"], "--output takes"),
        (["list", "--colour"], "--colour"),
        (["list", "extra"], "extra"),
        (["rename"], "rename"),
    ],
)
def test_bad_input(taskdb, ann, arguments, named):
    """Input that breaks a rule is a usage error that names what is wrong, and changes nothing."""
    failed = taskdb("user", *arguments, expect=2)
    assert failed.err.startswith("error: ")
    assert named in failed.err
    assert failed.err.count("\n") == 1
    assert failed.out == ""
    assert taskdb("user", "list").out == "1\tann@example.com\tAnn\ttrue\n"


def test_delete(taskdb, url, bob):
    """A deletion says how many tasks go with the user, and those of others stay."""
    database = open_database(url)
    for owner in ("1", "1", "2"):
        add_task(database, owner, f"of {owner}")
    refused = taskdb("user", "delete", "1", expect=9)
    assert refused.err == (
        "error: will not delete ann@example.com and 2 tasks without a confirmation (add --yes to go ahead)\n"
    )
    dry = taskdb("user", "delete", "ann@example.com", "--dry-run")
    assert (dry.out, dry.err) == ("", "would delete ann@example.com and 2 tasks\n")
    assert titles(database) == ["of 1", "of 1", "of 2"]
    gone = taskdb("user", "delete", "ann@example.com", "--yes")
    assert (gone.out, gone.err) == ("", "deleted ann@example.com and 2 tasks\n")
    assert (emails(database), titles(database)) == (["bob@example.com"], ["of 2"])


def test_delete_and_reassign(taskdb, url, bob):
    """The tasks go to another user instead, unless an external id is in the way."""
    database = open_database(url)
    add_task(database, "1", "A", external_id="x")
    id = add_task(database, "2", "B", external_id="x")
    assert "external id" in taskdb("user", "delete", "1", "--reassign-to", "2", "--yes", expect=4).err
    taskdb("task", "delete", id, "--yes")
    arguments = ("user", "delete", "1", "--reassign-to", "bob@example.com")
    dry = taskdb(*arguments, "--dry-run", "-o", "json")
    report = {"users": [1], "tasks_deleted": 0, "tasks_reassigned": 1}
    assert json.loads(dry.out) == report | {"dry_run": True}
    assert dry.err == "would delete ann@example.com, giving 1 task to bob@example.com\n"
    assert emails(database) == ["ann@example.com", "bob@example.com"]
    assert json.loads(taskdb(*arguments, "-y", "-o", "json").out) == report | {"dry_run": False}
    assert (emails(database), titles(database)) == (["bob@example.com"], ["A"])


def test_delete_several(taskdb, url, bob):
    """Several users go together, each once."""
    gone = taskdb("user", "delete", "2", "1", "bob@example.com", "--yes", "-o", "json")
    report = json.loads(gone.out)
    assert sorted(report.pop("users")) == [1, 2]
    assert report == {"tasks_deleted": 0, "tasks_reassigned": 0, "dry_run": False}
    assert taskdb("user", "list").out == ""


@SQLITE_ONLY
def test_special_domains(taskdb, monkeypatch, tmp_path):
    """A setting allows new addresses in special-use domains; without it the stored ones work all the same."""
    (users := tmp_path / "users.csv").write_text("email,name\nann@corp.local,Ann\nroot@localhost,Root\n")
    (tasks := tmp_path / "tasks.csv").write_text("user,title\nANN@corp.local,A\n")
    ann = ("user", "create", "--email", "ann@corp.local", "--name", "Ann")
    assert "TASKDB_ALLOW_SPECIAL_DOMAINS=1" in taskdb(*ann, expect=2).err
    refused = taskdb("user", "import", users, expect=2).err
    assert "2 records like this: email ends in" in refused
    assert "TASKDB_ALLOW_SPECIAL_DOMAINS=1" in refused
    monkeypatch.setenv("TASKDB_ALLOW_SPECIAL_DOMAINS", "1")
    taskdb(*ann)
    assert taskdb("user", "import", users).err.startswith("1 created, 0 updated, 1 unchanged")
    monkeypatch.delenv("TASKDB_ALLOW_SPECIAL_DOMAINS")
    taskdb("task", "import", tasks)
    assert taskdb(*ann, "--if-not-exists").out == "1\tann@corp.local\tAnn\ttrue\n"
    assert taskdb("task", "list", "--user", "ann@corp.local", "--count").out == "1\n"
    assert taskdb("user", "update", "root@localhost", "--inactive").out == "2\troot@localhost\tRoot\tfalse\n"
    assert taskdb("user", "list", "--search", "corp.local", "--count").out == "1\n"
    assert "special-use" in taskdb("user", "update", "1", "--email", "b@corp.local", expect=2).err


def test_no_database_for_a_refused_address(bare_taskdb, tmp_path):
    """A new address that needs the setting is refused before a file is made for it."""
    refused = bare_taskdb("user", "create", "--email", "ann@corp.local", "--name", "Ann", expect=2)
    assert refused.err.startswith("error: email ends in")
    assert not (tmp_path / "data").exists()
