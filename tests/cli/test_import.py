"""taskdb task import and taskdb user import, from the outside."""

import json
import os
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taskdb_cli.cli import progress
from taskdb_cli.models.vocabulary import FileFormat
from tests.processes import run_lines
from tests.terminals import open_terminal

DATA = Path(__file__).parent.parent / "data"
TASKWARRIOR = DATA / "taskwarrior-export.json"
UNKNOWN_FIELDS = "correct the file or the options; --map renames fields, --ignore-unknown leaves them out"
ANN = ("--user", "ann@example.com")


@pytest.fixture
def ann(taskdb):
    """The command line, with a user to own tasks."""
    taskdb("user", "create", "--email", "ann@example.com", "--name", "Ann")
    return taskdb


def file(content: str | bytes, name: str = "tasks.csv") -> str:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def tasks(taskdb, *options) -> list[dict]:
    return json.loads(taskdb("task", "export", "-o", "json", *options).out)


def counts(result) -> dict[str, int]:
    return json.loads(result.out)


def test_taskwarrior_twice(ann):
    """The real Taskwarrior file makes 147 tasks, and a second import of it changes nothing."""
    first = ann("task", "import", TASKWARRIOR, *ANN, "-o", "json")
    assert counts(first) == {"created": 147, "updated": 0, "unchanged": 0}
    assert "147 created, 0 updated, 0 unchanged" in first.err
    assert "id and urgency" in first.err
    before = tasks(ann)
    again = ann("task", "import", TASKWARRIOR, *ANN, "-o", "json")
    assert counts(again) == {"created": 0, "updated": 0, "unchanged": 147}
    assert tasks(ann) == before


LISTED = re.findall(
    r"^- `(\w+)`: `taskdb ([^`]*)`", (DATA.parents[1] / "docs/import.md").read_text(), re.MULTILINE
)


def test_the_list_of_formats_has_each():
    """docs/import.md lists each format of --from."""
    assert [name for name, _ in LISTED] == [each for each in FileFormat if each is not FileFormat.AUTO]


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("format", "command"), LISTED)
def test_the_list_of_formats(ann, format, command):
    """Each command of the list imports a sample, and a second import of it changes nothing."""
    words = command.replace("you@example.com", "ann@example.com").split()
    shutil.copy(TASKWARRIOR if format == "taskwarrior" else DATA / "import" / words[2], words[2])
    dry = ann(*words, "--dry-run", "-o", "json")
    first = ann(*words, "-o", "json")
    made = counts(first)["created"]
    assert made > 0
    assert dry.err.removeprefix("dry run: ") == first.err
    assert counts(ann(*words, "--from", format, "-o", "json")) == {
        "created": 0,
        "updated": 0,
        "unchanged": made,
    }
    assert ann("task", "list", "--count").out == f"{made}\n"


def test_other_programs_twice(ann):
    """Cards, issues and to-dos keep their moments and states, and a second import of them changes nothing."""
    for name, made in {"trello.json": 7, "github.json": 5, "ics.ics": 5}.items():
        first = ann("task", "import", DATA / "import" / name, *ANN, "-o", "json")
        assert counts(first) == {"created": made, "updated": 0, "unchanged": 0}
        before = tasks(ann)
        again = ann("task", "import", DATA / "import" / name, *ANN, "-o", "json")
        assert counts(again) == {"created": 0, "updated": 0, "unchanged": made}
        assert tasks(ann) == before
    assert {each["status"] for each in before} == {"todo", "in_progress", "done", "cancelled"}


def test_taskwarrior_open_tasks_in_order(ann):
    """The 45 pending tasks are listed as open, the two of high priority first."""
    ann("task", "import", TASKWARRIOR, *ANN)
    found = json.loads(
        ann("task", "list", *ANN, "--status", "open", "--sort", "-priority,due", "-o", "json").out
    )
    pending = [each for each in json.loads(TASKWARRIOR.read_text()) if each["status"] == "pending"]
    high = [each["uuid"] for each in pending if each.get("priority") == "H"]
    rest = [each["uuid"] for each in pending if each.get("priority") != "H"]
    assert len(found) == 45
    assert [each["external_id"] for each in found] == high + rest


def test_taskwarrior_keeps_everything(ann):
    """Status, dates, tags, project and annotations of the real file are all there afterwards."""
    ann("task", "import", TASKWARRIOR, *ANN)
    stored = {each["external_id"]: each for each in tasks(ann)}
    words = {"pending": "todo", "completed": "done", "deleted": "cancelled"}
    for theirs in json.loads(TASKWARRIOR.read_text()):
        ours = stored[theirs["uuid"]]
        assert ours["title"] == theirs["description"]
        assert ours["status"] == words[theirs["status"]]
        assert compact(ours["created_at"]) == theirs["entry"]
        assert compact(ours["updated_at"]) == theirs["modified"]
        if theirs["status"] == "completed":
            assert compact(ours["completed_at"]) == theirs["end"]
        kept = [*theirs["tags"], theirs.get("project", ""), *notes(theirs)]
        assert all(text in (ours["description"] or "") for text in kept)


def compact(moment: str) -> str:
    return moment.replace("-", "").replace(":", "")


def notes(theirs: dict) -> list[str]:
    return [note["description"] for note in theirs.get("annotations", [])]


MILK = '{"external_id":"a","title":"Milk","priority":"high","due_at":"2026-12-01T17:00:00Z"}'
BREAD = '{"external_id":"b","title":"Bread","due_at":null}'
TW_MILK = (
    '{"uuid":"a","description":"Milk","status":"pending","entry":"20260101T000000Z","priority":"H",'
    '"due":"20261201T170000Z"}'
)
TW_BREAD = '{"uuid":"b","description":"Bread","status":"waiting","entry":"20260101T000000Z"}'
CSV = "external_id,title,priority,due_at\na,Milk,high,2026-12-01T18:00:00+01:00\n\nb,Bread,,\n"
FILES = {
    "csv": ("t.csv", CSV),
    "csv, unnamed": ("t", CSV),
    "csv, as spreadsheets write it": ("t.csv", "\ufeff" + CSV.replace("\n", "\r\n")),
    "ndjson": ("t.ndjson", f"{MILK}\n\n{BREAD}"),
    "ndjson, named json": ("t.json", f"{MILK}\n{BREAD}\n"),
    "json": ("t.json", f"[{MILK},\n{BREAD}]\n"),
    "json, unnamed": ("t", f"\ufeff\n [ {MILK}, {BREAD}\n ]"),
    "taskwarrior": ("t.json", f"[\n{TW_MILK},\n{TW_BREAD}\n]\n"),
    "taskwarrior, lines": ("t", f"{TW_MILK}\n{TW_BREAD}"),
    "taskwarrior, lines with commas": ("t", f"{TW_MILK},\n{TW_BREAD},\n"),
}


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("name", "content"), FILES.values(), ids=FILES)
@pytest.mark.parametrize("piped", [False, True])
def test_every_format_is_recognized(ann, name, content, piped):
    """A file of each format makes the same tasks, by its name or only by what it begins with."""
    if piped:
        ann("task", "import", "-", *ANN, stdin=content)
    else:
        ann("task", "import", file(content, name), *ANN)
    found = [(each["external_id"], each["title"], each["priority"], each["due_at"]) for each in tasks(ann)]
    assert found == [("a", "Milk", "high", "2026-12-01T17:00:00Z"), ("b", "Bread", "medium", None)]


def test_a_pipe_that_has_a_name(ann):
    """A file that can be read only once, as a shell's <(…), is imported."""
    os.mkfifo("pipe")
    writer = threading.Thread(target=Path("pipe").write_text, args=("title\nMilk\n",))
    writer.start()
    ann("task", "import", "pipe", *ANN)
    writer.join()
    assert [each["title"] for each in tasks(ann)] == ["Milk"]


@pytest.mark.parametrize(
    ("name", "content", "place", "reason"),
    [
        ("t.csv", b"title\nfine\n\xff\n", "line 3", "byte 0xFF at character 1 of line 3 is not UTF-8"),
        ("t.ndjson", '{"title":"fine"}\n{\n', "line 2", "is not valid JSON: "),
        ("t.json", '[{"title":"fine"},', "record 2", "is cut off: the file ends before the JSON does"),
        (
            "t",
            '{"uuid":"a","description":"","status":"pending","entry":""}',
            "line 1",
            "description is missing",
        ),
    ],
)
def test_a_bad_record_is_named_with_its_place(ann, name, content, place, reason):
    """A bad record is reported as FILE:PLACE: reason, the command exits 2, and nothing is imported."""
    result = ann("task", "import", file(content, name), *ANN, expect=2)
    problem, error = result.err.splitlines()
    assert problem.startswith(f"{name}:{place}: {reason}")
    assert error == "error: 1 record is invalid; nothing was imported (correct the file or the options)"
    assert tasks(ann) == []


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("t", "", [], "t is empty"),
        ("t.json", '{\n"title": "a"\n}\n', [], "t.json is not a JSON array of objects"),
        ("t.json", "3", [], "t.json is not a JSON array of objects"),
        ("t.json", "[]", ["--from", "ndjson"], "t.json is not one JSON object a line"),
    ],
)
def test_a_file_of_another_kind_is_refused(ann, name, content, options, message):
    """A file that cannot hold records at all is refused as a whole, in one line."""
    result = ann("task", "import", file(content, name), *ANN, *options, expect=2)
    assert result.err.startswith(f"error: {message}")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(("content", "name"), [("", "t.ndjson"), ("[]", "t.json"), ("title\n", "t.csv")])
def test_a_file_without_records(ann, content, name):
    """A file of a known format that holds no record imports nothing, successfully."""
    result = ann("task", "import", file(content, name), *ANN, "-o", "json")
    assert counts(result) == {"created": 0, "updated": 0, "unchanged": 0}


def test_every_bad_record_is_reported(ann):
    """All bad records are reported, those that only the database can tell among them; none is imported."""
    lines = [
        "user,external_id,title,status",
        "ann@example.com,1,good,todo",
        "ann@example.com,2,,todo",
        "bob@example.com,3,stranger,todo",
        "nobody,4,no address,what",
        "ann@example.com,1,twice,todo",
        "Ann@Example.com,1,thrice,todo",
    ]
    result = ann("task", "import", file("\n".join(lines)), expect=2)
    assert result.err.splitlines() == [
        "tasks.csv: 2 records: external_id is that of line 2 too; first in line 6, last in line 7",
        "tasks.csv:line 3: title is missing",
        "tasks.csv:line 5: user is not an e-mail address: An email address must have an @-sign",
        "tasks.csv:line 5: status must be one of todo, in_progress, done, cancelled, not 'what'",
        "tasks.csv:line 4: user bob@example.com does not exist",
        "error: 5 records are invalid; nothing was imported (correct the file or the options)",
    ]
    assert tasks(ann) == []


def test_alike_problems_are_one_line(ann):
    """A whole file without users is one line that names the option; JSON has each record as ever."""
    assert ann("task", "import", TASKWARRIOR, expect=2).err.splitlines() == [
        f"{TASKWARRIOR}: 147 records: user is missing (add --user); first in record 1, last in record 147",
        "error: 147 records are invalid; nothing was imported (correct the file or the options)",
    ]
    error = json.loads(ann("task", "import", TASKWARRIOR, "-o", "json", expect=2).err)["error"]
    reason = "user is missing (add --user)"
    assert error["details"] == [{"place": f"record {n}", "reason": reason} for n in range(1, 148)]


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_the_order_of_faults_is_fixed(ann):
    """What is said of a file with faults of many kinds is the same in every process."""
    records = [
        {"user": f"{'ann' if n % 3 else 'bob'}@example.com", "title": "t", "external_id": f"{n % 4}"}
        | ({"status": "x", "due_at": "soon", "priority": "p", f"x{n}": 1, f"y{n}": 2} if n > 20 else {})
        for n in range(40)
    ]
    columns = ["title", "titel", "status", *(f"x{n}" for n in range(20)), "title", "status", "prio", "x1"]
    rows = "ann@example.com,,s,p,d,7\nbob@example.com,a,,,,7\n" * 9
    files = [
        file("".join(json.dumps(each) + "\n" for each in records), "t.ndjson"),
        file(",".join(columns), "header.csv"),
        file(f"user,title,status,priority,due_at,external_id\n{rows}"),
    ]
    lines = [("task", "import", name, *more) for name in files for more in ([], ["-o", "json"])]
    # This process has a seed of its own.
    here = [ann(*line, expect=2) for line in lines]
    with ThreadPoolExecutor() as pool:
        seeded = pool.map(lambda seed: run_lines(lines, enter=("env", f"PYTHONHASHSEED={seed}")), (0, 1))
    assert [[each.err for each in outcomes] for outcomes in seeded] == [[each.err for each in here]] * 2
    assert all(word in here[0].err for word in ("does not exist", "is that of", "x21", "priority"))


@pytest.mark.parametrize("noun", ["task", "user"])
def test_only_the_most_frequent_problems_are_told(ann, noun):
    """Of many kinds the most frequent ones come first, and the rest is counted."""
    given = {"title": "t"} if noun == "task" else {"email": "a@example.com", "name": "a"}
    records = [given | {letter: n} for number, letter in enumerate("abcdfghijklm", 1) for n in range(number)]
    name = file("".join(json.dumps(each) + "\n" for each in records), "t.ndjson")
    *told, more, error = ann(
        noun, "import", name, *(ANN if noun == "task" else ()), expect=2
    ).err.splitlines()
    assert told[0] == "t.ndjson: 12 records: m is not a known field; first in line 67, last in line 78"
    assert [line.split()[1] for line in told] == [f"{n}" for n in range(12, 2, -1)]
    assert more.startswith("t.ndjson: 3 more problems ")
    assert error.startswith("error: 78 records are invalid")


def test_one_more_problem(ann):
    """A single problem that is not shown is counted in the singular."""
    name = file("".join(f'{{"title":"t","{letter}":1}}\n' for letter in "abcdefghijk"), "t.ndjson")
    assert "1 more problem of" in ann("task", "import", name, *ANN, expect=2).err


def test_problems_as_json(ann):
    """With -o json stderr holds one JSON object, whose details are the bad records."""
    name = file('[{"title":""},{"title":"a","due":1}]', "t.json")
    result = ann("task", "import", name, *ANN, "-o", "json", expect=2)
    assert result.out == ""
    assert json.loads(result.err) == {
        "error": {
            "code": "usage",
            "message": "2 records are invalid; nothing was imported",
            "hint": UNKNOWN_FIELDS,
            "details": [
                {"place": "record 1", "reason": "title is empty"},
                {"place": "record 2", "reason": "due is not a known field"},
            ],
        }
    }


def test_a_record_must_have_a_user(ann):
    """Without --user a record that names no user is an error that says what to do."""
    result = ann("task", "import", file('{"title":"a"}', "t.ndjson"), expect=2)
    assert "t.ndjson:line 1: user is missing" in result.err
    assert "--user" in result.err


def test_user_option_overrules_the_file(ann):
    """With --user the file's user and user_id are of no account, even if they are nobody's."""
    ann("task", "import", file("user,user_id,title\nbob@example.com,77,a\n???,x,b\n"), *ANN)
    assert [each["user"] for each in tasks(ann)] == ["ann@example.com"] * 2


def test_unknown_user_option(ann):
    """An unknown --user exits 3."""
    result = ann("task", "import", file("title\na\n"), "--user", "bob@example.com", expect=3)
    assert "user bob@example.com not found" in result.err


def test_existing_update(ann):
    """A task that differs is updated with its version and time; the one that is the same is left alone."""
    ann("task", "import", file("external_id,title\na,Milk\nb,Bread\n"), *ANN)
    before = tasks(ann)
    result = ann(
        "task", "import", file("external_id,title\na,Oat milk\nb,Bread\nc,Jam\n"), *ANN, "-o", "json"
    )
    assert counts(result) == {"created": 1, "updated": 1, "unchanged": 1}
    after = tasks(ann)
    assert [(each["title"], each["version"]) for each in after] == [("Oat milk", 2), ("Bread", 1), ("Jam", 1)]
    assert after[0]["updated_at"] > before[0]["updated_at"]
    assert after[0]["created_at"] == before[0]["created_at"]
    assert after[1] == before[1]


def test_existing_skip(ann):
    """With --existing skip a task that differs is left alone, and a new one is made."""
    ann("task", "import", file("external_id,title\na,Milk\n"), *ANN)
    result = ann(
        "task", "import", file("external_id,title\na,Oats\nb,Jam\n"), *ANN, "--existing", "skip", "-o", "json"
    )
    assert counts(result) == {"created": 1, "updated": 0, "unchanged": 1}
    assert [each["title"] for each in tasks(ann)] == ["Milk", "Jam"]


def test_what_a_record_leaves_out_stays(ann):
    """An update changes no field that the file does not have, and empties one that is there but empty."""
    ann(
        "task", "import",
        file("external_id,title,description,priority,status,due_at\na,Milk,two,high,done,2026-12-01\n"),
        *ANN,
    )  # fmt: skip
    (before,) = tasks(ann)
    ann("task", "import", file("external_id,title\na,Oats\n"), *ANN)
    (after,) = tasks(ann)
    changed = {"title": "Oats", "version": 2, "updated_at": after["updated_at"]}
    assert after == before | changed
    ann("task", "import", file("external_id,title,description,due_at\na,Oats,,\n"), *ANN)
    assert [(each["description"], each["due_at"]) for each in tasks(ann)] == [(None, None)]


def test_completion_follows_the_status(ann):
    """A task that becomes done by an import is completed now, and never again; reopened it is not."""
    ann("task", "import", file("external_id,title,status\na,Milk,todo\n"), *ANN)
    done = file("external_id,title,status\na,Milk,done\n", "done.csv")
    assert counts(ann("task", "import", done, *ANN, "-o", "json"))["updated"] == 1
    (task,) = tasks(ann)
    assert task["completed_at"] == task["updated_at"]
    assert counts(ann("task", "import", done, *ANN, "-o", "json"))["unchanged"] == 1
    ann("task", "import", "tasks.csv", *ANN)
    assert [each["completed_at"] for each in tasks(ann)] == [None]


def test_stamps_are_taken_over_when_made(ann):
    """A new task keeps the times that the file gives; ids and versions it does not."""
    row = "900,5,a,done,2020-01-02,2019-01-01T00:00:00Z,2020-01-03T00:00:00.5Z"
    header = "id,version,title,status,completed_at,created_at,updated_at"
    ann("task", "import", file(f"{header}\n{row}\n"), *ANN)
    (task,) = tasks(ann)
    assert (task["id"], task["version"]) == (1, 1)
    assert task["completed_at"] == "2020-01-02T00:00:00Z"
    assert task["created_at"] == "2019-01-01T00:00:00Z"
    assert task["updated_at"] == "2020-01-03T00:00:00.500000Z"


def test_a_due_date_means_the_end_of_the_day(ann):
    """A due date without a time is the last second of that day."""
    ann("task", "import", file("title,due_at\na,2026-12-01\n"), *ANN)
    assert tasks(ann)[0]["due_at"] == "2026-12-01T23:59:59Z"


def test_without_external_id(ann):
    """A task without external id is made each time, and the summary says so."""
    name = file("title,external_id\nMilk,\nMilk,\nBread,b\n")
    for made in (3, 2):
        result = ann("task", "import", name, *ANN)
        assert result.err.startswith(f"{made} created, 0 updated")
        assert "2 have no external id: another import creates them again" in result.err
    assert len(tasks(ann)) == 5


def test_the_same_external_id_of_two_users(ann):
    """An external id may occur once for each user."""
    ann("user", "create", "--email", "bob@example.com", "--name", "Bob")
    ann("task", "import", file("user,external_id,title\nann@example.com,1,a\nbob@example.com,1,b\n"))
    assert [(each["user"], each["title"]) for each in tasks(ann)] == [
        ("ann@example.com", "a"),
        ("bob@example.com", "b"),
    ]


@pytest.mark.parametrize("noun", ["task", "user"])
def test_dry_run_writes_nothing(ann, noun):
    """A dry run counts what it would do, says that it is one, and changes nothing."""
    content = {"task": "external_id,title\na,Milk\n", "user": "email,name\nbob@example.com,Bob\n"}[noun]
    before = ann(noun, "export").out
    options = ANN if noun == "task" else ()
    result = ann(noun, "import", file(content), *options, "--dry-run", "-o", "json")
    assert counts(result) == {"created": 1, "updated": 0, "unchanged": 0}
    assert result.err.startswith("dry run: 1 created")
    assert ann(noun, "export").out == before


def test_a_missing_file(ann):
    """A file that does not exist exits 3, and a directory 2; both are named."""
    assert "no file at none.csv" in ann("task", "import", "none.csv", *ANN, expect=3).err
    Path("directory").mkdir()
    assert ann("task", "import", "directory", *ANN, expect=2).err == (
        "error: directory is a directory (name a file; '-' reads standard input)\n"
    )


def test_users(taskdb):
    """Users are made, updated where they differ, and left alone otherwise; the address tells who is who."""
    name = file("email,name,is_active,tasks\nAnn@Example.com,Ann,true,3\nbob@example.com,Bob,false,\n")
    assert counts(taskdb("user", "import", name, "-o", "json"))["created"] == 2
    assert counts(taskdb("user", "import", name, "-o", "json"))["unchanged"] == 2
    name = file("email,name\nann@example.com,Ann Lee\nbob@example.com,Bob\ncyd@example.com,Cyd\n")
    result = taskdb("user", "import", name, "-o", "json")
    assert counts(result) == {"created": 1, "updated": 1, "unchanged": 1}
    found = json.loads(taskdb("user", "export", "-o", "json").out)
    assert [(each["email"], each["name"], each["is_active"], each["version"]) for each in found] == [
        ("ann@example.com", "Ann Lee", True, 2),
        ("bob@example.com", "Bob", False, 1),
        ("cyd@example.com", "Cyd", True, 1),
    ]


def test_existing_users_skipped(taskdb):
    """With --existing skip a user that differs is left alone."""
    taskdb("user", "import", file("email,name\nann@example.com,Ann\n"))
    name = file("email,name\nann@example.com,Other\n")
    result = taskdb("user", "import", name, "--existing", "skip", "-o", "json")
    assert counts(result) == {"created": 0, "updated": 0, "unchanged": 1}
    assert json.loads(taskdb("user", "export").out)["name"] == "Ann"


def test_bad_users(taskdb):
    """Every bad user is reported, a repeated address with both places, and none is imported."""
    lines = [
        '{"email":"ann@example.com","name":"Ann"}',
        '{"email":"ann","name":"Ann"}',
        '{"email":"bob@example.com","name":"","is_active":"maybe"}',
        '{"email":"ANN@example.com","name":"Ann"}',
        '{"email":"cyd@example.com","name":"Cyd","title":"x"}',
    ]
    result = taskdb("user", "import", file("\n".join(lines), "u.ndjson"), expect=2)
    assert result.err.splitlines() == [
        "u.ndjson:line 2: email is not an e-mail address: An email address must have an @-sign",
        "u.ndjson:line 3: name is empty",
        "u.ndjson:line 3: is_active: must be true or false, not 'maybe'",
        "u.ndjson:line 5: title is not a known field",
        "u.ndjson:line 4: email is that of line 1 too",
        f"error: 4 records are invalid; nothing was imported ({UNKNOWN_FIELDS})",
    ]
    assert taskdb("user", "export").out == ""


def test_an_import_makes_the_embedded_database(bare_taskdb, tmp_path):
    """An import makes a missing embedded database, unless it would write nothing to it; a dry run tells."""
    database = tmp_path / "data" / "taskdb" / "taskdb.sqlite3"
    bad = file('{"email":"ann"}', "bad.ndjson")
    good = file('{"email":"ann@example.com","name":"Ann"}', "good.ndjson")
    assert "bad.ndjson:line 1" in bare_taskdb("user", "import", bad, expect=2).err
    strange = file(
        '{"title":"a","user":"ann@example.com"}\n{"title":"","user":"ann@example.com"}', "t.ndjson"
    )
    assert (
        "t.ndjson:line 1: user ann@example.com does" in bare_taskdb("task", "import", strange, expect=2).err
    )
    homeless = file('{"title":"a","user":"ann@example.com"}', "h.ndjson")
    tried = bare_taskdb("task", "import", homeless, "--dry-run", expect=2).err
    assert bare_taskdb("task", "import", homeless, expect=2).err == tried
    tried = bare_taskdb("user", "import", good, "--dry-run").err
    assert not database.exists()
    made = bare_taskdb("user", "import", good).err
    assert database.exists()
    assert tried == made.replace("created /", "would create /").replace("1 created", "dry run: 1 created")


@pytest.mark.parametrize(("patience", "shown"), [(-1.0, True), (3600.0, False)])
def test_progress_on_a_terminal(bare_taskdb, monkeypatch, patience, shown):
    """A terminal shows a progress bar once the import takes a while; the messages stay readable."""
    terminal = open_terminal(monkeypatch, "stderr")
    monkeypatch.setattr(progress, "PATIENCE", patience)
    bare_taskdb("user", "import", file("email,name\nann@example.com,Ann\n"))
    assert ("━" in terminal.getvalue()) is shown
    assert "1 created, 0 updated, 0 unchanged\n" in terminal.getvalue()


def test_quiet(taskdb):
    """With -q an import that succeeds says nothing."""
    result = taskdb("-q", "user", "import", file("email,name\nann@example.com,Ann\n"))
    assert (result.out, result.err) == ("", "")


def test_how_a_file_is_read(ann):
    """The options say how a file is read, and the summary says which columns were left out."""
    content = "Task, the name;Priorität;x;\nMilch;hoch;1;\n".encode("windows-1252")
    options = ("--map", "Task, the name=title", "--ignore-unknown", "--encoding", "windows-1252")
    result = ann("task", "import", file(content), *ANN, *options, "--delimiter", ";")
    assert "left out: 'Priorität', 'x', 'column 4'" in result.err
    assert [each["title"] for each in tasks(ann)] == ["Milch"]
    ann("task", "import", file("title\na\n"), *ANN, "--encoding", "zip", expect=2)
    ann("user", "import", file("Mail|name\nbob@example.com|Bob\n"), "--map", "mail=email")
    ann("user", "import", file("Mail|name\n"), "--map", "mail=nmae", expect=2)


def test_faults_of_a_header_are_lines(ann):
    """Each fault of a header is told on its own line, and that the rest of the file was not read."""
    *faults, rest, error = ann("task", "import", file("a,a\n1,2\n"), *ANN, expect=2).err.splitlines()
    assert len(faults) == 3
    assert "from line 2 on, was not read" in rest
    assert error.startswith("error: the header is invalid")
    for format in ("todoist", "ticktick"):
        error = ann("task", "import", file("a,b\n1,2\n"), *ANN, "--from", format, expect=2).err
        assert "error: the header is invalid" in error
