"""How a command line may be typed: short options, aliases, global options anywhere, titles without quotes."""

import json

import pytest

from tests.completion import ask_for_words
from tests.samples import add_task, add_user
from tests.test_docs import COMMANDS

CREATE = ["task", "create", "-u", "1"]


@pytest.fixture
def engine():
    """No engine decides how a command line is read."""
    return "sqlite"


@pytest.fixture
def filled(taskdb, database):
    """The command line on a database with one user."""
    add_user(database)
    return taskdb


@pytest.mark.parametrize(
    ("long", "short"),
    [
        ("--user", "-u"),
        ("--status", "-s"),
        ("--priority", "-p"),
        ("--due", "-d"),
        ("--limit", "-n"),
        ("--search", "-S"),
        ("--output", "-o"),
    ],
)
def test_short_options(bare_taskdb, long, short):
    """An option that is often typed is short wherever it exists."""
    found = [each for command in COMMANDS.values() for each in command.params if long in each.opts]
    assert found
    assert all(short in parameter.opts for parameter in found)


def test_short_options_do_what_the_long_ones_do(filled):
    """Each short option has the effect of its long form, alone and joined with flags."""
    filled(*CREATE, "Buy milk", "-s", "in_progress", "-phigh", "-d", "2026-12-01")
    filled(*CREATE, "Walk")
    for words in (["-S", "milk"], ["-p", "high"], ["-s", "in_progress"], ["-u1", "-n", "1", "--sort", "id"]):
        [task] = json.loads(filled("task", "list", *words, "-qo", "json").out)
        assert task["title"] == "Buy milk"
    assert task["due_at"] == "2026-12-01T23:59:59Z"


def test_json(filled):
    """--json is -o json wherever that is taken, for errors too. With another format it is a mistake."""
    commands = [command for command in COMMANDS.values() if any("-o" in each.opts for each in command.params)]
    assert all(any("--json" in each.opts for each in command.params) for command in commands)
    for words in (["task", "list"], ["user", "show", "1"], ["health"], ["stats"], ["migrate", "status"]):
        assert json.loads(filled(*words, "--json", expect=None).out) is not None
    assert json.loads(filled("user", "show", "7", "--json", expect=3).err)["error"]["code"] == "not_found"
    assert filled("user", "list", "--json", "-o", "json").out == filled("user", "list", "--json").out
    assert json.loads(filled("user", "list", "-o", "csv", "--json", expect=2).err)["error"]["code"] == "usage"


def test_capital_letters(filled):
    """A word that an option chooses from may be written in capital letters, as a status may."""
    assert filled("user", "list", "-o", "JSON").out == filled("user", "list", "--json", "-o", "JSON").out
    assert filled("task", "export", "-oCSV", "--log-format", "TEXT").out.startswith("id,")
    choices = [
        each for command in COMMANDS.values() for each in command.params if each.type_descriptor.choices
    ]
    assert all(not each.type_descriptor.case_sensitive for each in choices)


@pytest.mark.parametrize(
    "words", [["-yo", "json"], ["-qyojson"], ["-v", "-yo", "JSON"], ["--json"], ["--output=Json"]]
)
def test_errors_as_json_however_it_is_asked_for(filled, words):
    """The format is known before the command line is understood."""
    failed = filled("user", "delete", *words, "--no-such", expect=2)
    assert failed.err[failed.err.index("{") :].startswith('{\n  "error": {')


def test_lists_of_words(filled, database):
    """The values of an option that may be repeated may stand in one word."""
    for status in ("todo", "in_progress", "done"):
        filled(*CREATE, status, "-s", status)
    repeated = filled("task", "list", "--status", "todo", "--status", "done").out
    assert filled("task", "list", "--status", "todo,done").out == repeated
    assert filled("task", "list", "-s", "todo, done", "-u", "1,ann@example.com").out == repeated
    assert "'dnoe'" in filled("task", "list", "-s", "todo,dnoe", expect=2).err
    filled("health", "--only", "connection,version", "--json")


@pytest.mark.parametrize(
    "words",
    [
        ["--database-url", "URL", "user", "list"],
        ["user", "--database-url", "URL", "list"],
        ["user", "list", "--database-url", "URL"],
        ["user", "list", "--database-url=URL", "--json"],
        ["--database-url", "sqlite:////no/such", "user", "list", "--database-url", "URL"],
        ["user", "list", "--search", "--database-url", "--database-url", "URL"],
    ],
)
def test_global_options_anywhere(bare_taskdb, url, words):
    """A global option works behind a command as in front of it; of two the later one counts."""
    bare_taskdb(*[word.replace("URL", str(url)) for word in words])


def test_global_options_in_two_places(filled, tmp_path):
    """Verbosity adds up, --quiet goes first, and a log is where the last option says."""
    assert "DEBUG" in filled("-v", "user", "list", "-v").err
    assert filled("user", "-v", "list", "-q").err == ""
    filled("--log-file", tmp_path / "no" / "such", "user", "list", "--log-file", tmp_path / "log")
    assert "taskdb user list: ok (0)" in (tmp_path / "log").read_text(encoding="utf-8")


def test_words_that_look_like_global_options(filled):
    """A word behind --, and the value of an option, are no global options."""
    filled(*CREATE, "--description", "--quiet", "--", "-v", "--database-url")
    task = json.loads(filled("task", "show", "1", "--json").out)
    assert (task["title"], task["description"]) == ("-v --database-url", "--quiet")
    assert filled("user", "show", "--", "--version", expect=3).out == ""


def test_help_and_version_anywhere(bare_taskdb):
    """Help is about the command in front of it, and the version is the same everywhere."""
    for words in (["-V"], ["version"], ["task", "list", "--version"], ["-v", "-V"]):
        assert bare_taskdb(*words).out.startswith("taskdb ")
    for words in (["help", "task", "create"], ["task", "help", "create"], ["help", "task", "add"]):
        assert bare_taskdb(*words) == bare_taskdb("task", "create", "--help")
    assert bare_taskdb("help").out.startswith(bare_taskdb("--help").out)
    for words in (
        ["task", "create", "Buy", "-d", "friday", "17:00"],
        ["task", "list", "extra", "-o", "csv", "--json"],
    ):
        assert bare_taskdb(*words, "-h") == bare_taskdb("help", *words[:2])
    assert "'task'" in bare_taskdb("help", "tsak", expect=2).err


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["user", "add", "--email", "b@example.com", "--name", "B"], "user create"),
        (["task", "new", "-u", "1", "Walk"], "task create"),
        (["task", "ls"], "task list"),
        (["token", "ls"], "token list"),
        (["task", "modify", "1", "-p", "high"], "task update"),
        (["task", "rm", "1", "--force"], "task delete"),
        (["user", "deactivate", "1"], "user update"),
        (["user", "activate", "1"], "user update"),
        (["migrate", "upgrade"], "migrate up"),
        (["backup", "create", "--dir", "archives"], "backup"),
        (["backup", "--dir", "archives", "create"], "backup"),
    ],
)
def test_aliases(filled, database, words, command):
    """A word of another tool is understood, and the log names the command."""
    add_task(database)
    assert f" taskdb {command}: ok (0) in " in filled(*words, "-v").err


def test_activation(filled):
    """A user is deactivated and activated by the words for it."""
    assert json.loads(filled("user", "deactivate", "1", "--json").out)["is_active"] is False
    assert json.loads(filled("user", "activate", "1", "--json").out)["is_active"] is True
    for words in (["user", "activate", "1", "--inactive"], ["user", "deactivate", "--active", "1"]):
        assert "leave" in filled(*words, expect=2).err
    assert json.loads(filled("user", "show", "1", "--json").out)["is_active"] is True


@pytest.mark.parametrize("group", ["", "user", "task", "token", "migrate", "backup"])
def test_aliases_are_hidden(bare_taskdb, complete, group):
    """Neither help nor completion shows an alias."""
    aliases = {
        "add",
        "new",
        "ls",
        "rm",
        "modify",
        "upgrade",
        "downgrade",
        "activate",
        "deactivate",
        "--force",
    }
    aliases |= {"version", "-V"} if not group else {"create"} if group == "backup" else set()
    shown = {
        line.split()[0] for line in bare_taskdb(*group.split(), "--help").out.splitlines() if line.strip()
    }
    offered = {*complete(*group.split(), ""), *complete(*group.split(), "-")}
    assert "--quiet" in offered
    assert not aliases & (shown | offered)


def test_descriptions_are_whole(capfd, isolated, monkeypatch):
    """A shell shows the first line of the help of each command and group, as help does."""
    for group in ((), ("task",), ("user",), ("token",)):
        offered = ask_for_words(capfd, monkeypatch, "fish", *group, "").splitlines()
        assert [line for line in offered if line.endswith("...") or not line.endswith(".")] == []


def test_completion_of_words_that_are_read_differently(complete):
    """Global options behind a command, aliases and the words behind `help` are completed too."""
    assert complete("task", "list", "--log-f") == ["--log-file", "--log-format"]
    assert complete("task", "list", "--log-format", "") == ["text", "json"]
    assert complete("task", "ls", "--st") == ["--status"]
    assert complete("backup", "create", "--keep-l") == ["--keep-last"]
    assert complete("help", "task", "cr") == ["create"]


def test_force_is_yes_and_nothing_else(filled, database, tmp_path):
    """--force answers a question, but replaces no rows."""
    filled("backup", "--file", tmp_path / "archive")
    filled("restore", tmp_path / "archive", "--force", expect=4)
    filled("restore", tmp_path / "archive", "--force", "--replace")
    filled("user", "list", "--force", expect=2)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["lst"], None),
        (["done", "3"], "there is 'taskdb task done'"),
        (["task", "--json", "list"], "as in 'taskdb task list --json'"),
        (["-n", "1", "task", "list"], "as in 'taskdb task list -n'"),
        (["task", "stats"], "there is 'taskdb stats'"),
        (["add"], "there are 'taskdb user create', 'taskdb task create' and 'taskdb token create'"),
        (["haelth"], "'health'"),
        (["tsak"], "'task'"),
        (["task", "lst"], "'list'"),
        (["helth", "--json"], "'health'"),
        (["task", "list", "--stauts", "todo"], "--status"),
        (["task", "list", "-status", "todo"], "--status"),
        (["task", "list", "--databse-url", "x"], "--database-url"),
        (["task", "list", "--due", "x"], "--due-before"),
        (["task", "list", "--frce"], None),
        (["task", "list", "--prio", "high"], "--priority?"),
        (["task", "list", "--created", "x"], "--created-before?"),
        (["task", "list", "--pr", "high"], None),
        (["task", "cre"], "'create'"),
        (["--verison"], "--version?"),
        (["task", "done", "6", "--if-version", "99"], None),
        (["task", "list", "--instal-completion"], None),
        (["migrate", "down", "--dry-run"], "no such option: --dry-run ("),
        (["migrate", "down", "-x"], "no such option: -x ("),
        (["migrate", "down", "--nobackup"], "--no-backup?"),
        (["task", "show"], "'ID…'"),
        (["task", "list", "--email", "x"], None),
        (["--limit", "5", "task", "list"], "'taskdb task list --limit'"),
    ],
)
def test_suggestions(bare_taskdb, words, expected):
    """A mistyped word is told with the closest one of its place, if there is a close one."""
    message = bare_taskdb(*words, expect=2).err
    assert expected in message if expected else "did you mean" not in message


@pytest.mark.parametrize(
    ("words", "title"),
    [
        (["Buy", "milk"], "Buy milk"),
        (["Buy", "milk", "-d", "2026-12-01"], "Buy milk"),
        (["-d", "2026-12-01", "Buy", "milk", "-phigh"], "Buy milk"),
        (["Buy", "--", "-d", "milk"], "Buy -d milk"),
        (["Buy milk"], "Buy milk"),
    ],
)
def test_titles_without_quotes(filled, words, title):
    """The words of a title need no quotes."""
    assert json.loads(filled(*CREATE, "--json", *words).out)["title"] == title


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ([*CREATE, "Buy", "-d", "friday", "17:00"], 'quote it: -d "friday 17:00"'),
        ([*CREATE, "Buy", "-p", "high", "-d", "friday", "17:00", "-q"], 'quote it: -d "friday 17:00"'),
        ([*CREATE, "Buy", "--due=friday", "17:00"], 'quote it: "--due=friday 17:00"'),
        ([*CREATE, "Buy", "-q", "milk"], "or quote the title"),
        ([*CREATE, "Buy", "-d", "friday", "--", "-x"], "or quote the title"),
        (["task", "create", "Buy", "-u", "1", "milk"], "or quote the title"),
        ([*CREATE, "Buy", "-p", "high", "milk"], "or quote the title"),
        (["task", "list", "--sort", "due", "title"], "'taskdb task list --help'"),
        ([*CREATE, "Buy", "--description", "it's", "$5"], "quote it: --description 'it'\"'\"'s $5'"),
        (["task", "list", "--due-before", "friday", "17:00"], 'quote it: --due-before "friday 17:00"'),
        (["task", "list", "-s", "todo", "done"], "-s todo,done"),
        (["task", "update", "1", "-d", "friday", "17:00"], 'quote it: -d "friday 17:00"'),
        (["user", "show", "1", "2"], "'taskdb user show --help'"),
    ],
)
def test_words_in_a_wrong_place(filled, words, hint):
    """A word that belongs to an option is told with how to type it, and nothing is done."""
    assert hint in filled(*words, expect=2).err
    assert filled("task", "list").out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task", "list", "-n", "many"], "--limit takes a whole number from 0 to 1000000000, not 'many'"),
        (["task", "list", "-n", "-1"], "--limit takes a whole number from 0 to 1000000000, not '-1'"),
        (
            ["user", "update", "1", "--if-version", "0"],
            "--if-version takes a whole number from 1 on, not '0'",
        ),
        (["health", "--timeout", "x"], "--timeout takes a number from 0.1 to 3600, not 'x'"),
        (["user", "list", "-o", "xml"], "--output takes table, tsv, json, ndjson or csv, not 'xml'"),
        (["task", "list", "--log-format", "x"], "--log-format takes text or json, not 'x'"),
        (["task", "list", "--due-before"], "--due-before needs a value ('taskdb task list --help'"),
        (["task", "list", "--log-file"], "--log-file needs a value ('taskdb --help'"),
        (["task", "list", "--overdue=x"], "--overdue takes no value"),
    ],
)
def test_what_an_option_takes(bare_taskdb, words, message):
    """A value that an option does not take is told in words, with what it takes."""
    assert message in bare_taskdb(*words, expect=None).err
