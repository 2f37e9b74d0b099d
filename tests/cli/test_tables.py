"""Tables on a terminal: their columns and widths, pages by number, and the pager."""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
from datetime import UTC, datetime, timedelta

import pexpect
import pytest
from rich.cells import cell_len

from taskdb_cli.cli import lists
from taskdb_cli.cli.context import Invocation
from taskdb_cli.errors import DatabaseUnavailable
from taskdb_cli.models.vocabulary import TASK_FIELDS, TaskPriority
from taskdb_cli.output.formats import TASKS, View
from taskdb_cli.output.layout import GAP, fit
from taskdb_cli.output.pager import paged
from taskdb_cli.output.tables import console_for, print_table
from tests.conftest import NOW
from tests.listings import add_tasks, add_users, make_row
from tests.processes import command
from tests.samples import add_token
from tests.terminals import open_terminal

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
RULE, DOTS = "\N{BOX DRAWINGS LIGHT HORIZONTAL}", "\N{HORIZONTAL ELLIPSIS}"
ADDRESS = "a.very.long.name.of.somebody@departments.example.com"


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self):
        return True

    def lines(self):
        return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", self.getvalue()).splitlines()]


@pytest.fixture
def screen(isolated, monkeypatch):
    """A terminal of 100 columns and 24 lines, without a pager."""
    for name, value in {"TERM": "xterm", "COLUMNS": "100", "LINES": "24", "TASKDB_PAGER": ""}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def show(screen, taskdb, monkeypatch):
    """Runs a command on that terminal; returns the lines of stdout, and stderr."""

    def show(*arguments, expect=0):
        terminal = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            result = taskdb(*arguments, expect=expect)
        return terminal.lines(), result.err

    return show


@pytest.fixture
def fill(database):
    """Adds tasks of the first of some users, made by `make_row`."""

    def fill(*rows, users=("ann@example.com", ADDRESS)):
        database.write(lambda session: add_users(session, users))
        database.write(lambda session: add_tasks(session, rows))

    return fill


def draw(records, view=TASKS, **options):
    """Return the lines of a table of those records on the terminal."""
    terminal = Terminal()
    print_table(records, view, terminal, **options)
    return terminal.lines()


def make_record(id=1, **fields):
    """Return the record of a task."""
    values = {"id": id, "user": "ann@example.com", "title": "Write", "status": "todo"}
    values["priority"] = TaskPriority.MEDIUM
    return dict.fromkeys(TASK_FIELDS) | values | {"created_at": NOW, "updated_at": NOW} | fields


@SQLITE_ONLY
def test_a_time_zone_that_is_not_known(show, fill, taskdb, monkeypatch):
    """On a terminal one warning says that times are those of UTC; --quiet leaves it out."""
    fill(make_row())
    monkeypatch.setenv("TZ", "Mars/Base")
    warning, *others = show("task", "list")[1].splitlines()
    assert warning.startswith("warning: TZ is no time zone: 'Mars/Base', so times are those of UTC (")
    assert "TZ" not in str(others)
    assert "TZ" not in show("--quiet", "task", "list")[1] + taskdb("task", "list").err


@SQLITE_ONLY
def test_columns_that_say_nothing_are_left_out(show, fill):
    """A column that is empty or the same in every row is named above the table, and only there."""
    fill(make_row(), make_row(priority=4))
    lines, _ = show("task", "list", "--sort", "id")
    assert lines[0] == "all: status todo, user ann@example.com \N{MIDDLE DOT} empty: due"
    assert [line.split() for line in (lines[1], *lines[3:])] == [
        ["ID", "Priority", "Title"],
        ["1", "medium", "Task"],
        ["2", "urgent", "Task"],
    ]
    lines, _ = show("user", "list")
    assert lines[0] == "all: active yes"


@SQLITE_ONLY
def test_one_row_keeps_its_values(show, fill):
    """In a table of one row just the empty columns are left out."""
    fill(make_row())
    lines, _ = show("task", "list", "--user", "1")
    assert lines[0] == "empty: due"
    assert lines[3].split() == ["1", "todo", "medium", "ann@example.com", "Task"]


@SQLITE_ONLY
def test_wide_and_named_fields(show, fill, database):
    """--wide shows every field whole, and --fields the named ones, whatever is in them."""
    title = "long " * 40 + "end"
    fill(make_row(title=title), make_row(title=title))
    lines, _ = show("task", "list", "--wide")
    assert lines[0].split()[:6] == ["ID", "Status", "Priority", "Due", "User", "Title"]
    assert all(word in lines[0] for word in ("Description", "External ID", "Version", "Created", "Updated"))
    assert title in lines[2]
    lines, _ = show("task", "list", "--fields", "due_at,id,title,status")
    assert lines[0].split() == ["Due", "ID", "Title", "Status"]
    assert len(lines[2]) <= 100
    assert title in show("task", "list", "--fields", "id,title", "--wide")[0][2]
    add_token(database, "dashboard")
    assert "Created" in show("token", "list", "--wide")[0][0]
    assert show("token", "list")[0][0] == "empty: user, expires, last used"


@pytest.mark.parametrize("last", ["todo", "done"])
def test_many_rows_are_left_out_only_if_known(screen, last):
    """A stream whose later rows may differ has the column, unless its filter says otherwise."""
    records = [make_record(id, due_at=NOW) for id in range(1001, 2201)]
    records[-1]["status"] = last
    lines = draw(iter(records), equal={"user"})
    assert lines[0] == "all: user ann@example.com"
    assert lines[1].split() == ["ID", "Status", "Priority", "Due", "Title"]
    assert lines[-1].split()[1] == last
    # As a list it is known.
    assert ("Status" in draw(records)[1].split()) == (last == "done")
    # The columns are straight from beginning to end.
    assert {line.index("medium") for line in lines[3:]} == {lines[1].index("Priority")}


@pytest.mark.parametrize("columns", [20, 60, 80, 200])
def test_ids_and_times_are_whole(screen, monkeypatch, columns):
    """Whatever the width, ids and times are whole, and lines fit where there is room."""
    monkeypatch.setenv("COLUMNS", str(columns))
    ids = [9_007_199_254_740_991, *range(1000, 1599)]
    due = datetime.now(UTC) + timedelta(days=1)
    records = [
        make_record(
            id,
            due_at=due if id % 2 else None,
            user=ADDRESS if id % 3 else "b@example.com",
            title="long " * 50 if id % 5 else "x",
            status="in_progress" if id % 7 else "done",
            priority=TaskPriority(id % 4 + 1),
        )
        for id in ids
    ]
    lines = draw(records, hint="--wide shows all")
    first = next(place for place, line in enumerate(lines) if line.startswith(RULE))
    rows = lines[first + 1 :]
    assert [int(line.split()[0]) for line in rows] == ids
    assert sum("tomorrow" in line for line in rows) == 300
    assert columns == 20 or max(map(cell_len, lines)) <= columns
    said = " ".join(lines[:first])
    assert ("(--wide shows all)" in said) == (columns < 200)
    assert columns < 200 or re.search(rf" a\.very\S*{DOTS}\S*\.com ", rows[0])


@pytest.mark.parametrize("room", [1, 20, 40, 60, 80, 120, 200])
def test_what_gives_way(room):
    """The widths fit as long as anything can give way; what may not be cut keeps its width."""
    needs = {"id": 6, "status": 11, "priority": 8, "due_at": 16, "user": 52, "title": 200}
    for drop in (True, False):
        widths = fit(needs, room, drop=drop)
        fits = sum(widths.values()) + GAP * (len(widths) - 1) <= room
        assert fits or set(widths) == ({"id", "due_at", "title"} if drop else set(needs))
        assert all(widths[name] == needs[name] for name in widths if name not in ("user", "title"))
        assert widths["title"] >= 20
    assert fit({"id": 6, "title": 9}, room, drop=True)["title"] == 9


def test_wide_and_joined_characters_keep_columns_straight(screen):
    """Cells of any script begin in the same column; controls are spelled out."""
    titles = [
        "plain",
        "\u6f22\u5b57\u304b",
        "e\u0301te\u0301",
        "\U0001f469\u200d\U0001f680 up",
        "\u05e9\u05dc\u05d5",
    ]
    view = View(("title", "status", "id"), named=True)
    records = [make_record(title=title, status="done") for title in (*titles, "\x1b[31mred\u202e")]
    head, _, *lines = draw(records, view)
    assert {cell_len(line[: line.index("done")]) for line in lines} == {head.index("Status")}
    assert "\x1b" not in "".join(lines)
    assert r"\x1b[31mred\u202e" in lines[-1]


def test_addresses_lose_their_middle(screen, monkeypatch):
    """An address of any script is cut to the width of its column, and keeps both ends."""
    monkeypatch.setenv("COLUMNS", "30")
    users = ADDRESS, "\u6f22" * 40 + "@\u5b57.example"
    records = [make_record(id, user=user) for id, user in enumerate(users)]
    lines = draw(records, View(("id", "user"), named=True))
    assert max(map(cell_len, lines)) <= 30
    assert re.match(rf" *0 +a\.very\S+{DOTS}\S+\.com$", lines[2])
    assert lines[3].endswith(".example")


def test_no_columns_mean_that_nobody_knows(monkeypatch):
    """With COLUMNS=0 the terminal is as wide as the system says, or 80 columns."""
    assert console_for(open_terminal(monkeypatch, "stdout", width=0)).width > 0


@pytest.mark.parametrize("sort", ["due", "-due", "title,-completed", "id"])
def test_pages_by_number(taskdb, fill, monkeypatch, sort):
    """Page N is what following the cursors shows as the Nth page, also without a terminal."""
    monkeypatch.setattr(Invocation, "now", NOW)
    rows = []
    for n in range(10):
        due, status = (NOW + timedelta(days=n % 3), "todo") if n % 2 else (None, "done")
        rows.append(make_row(title="baB"[n % 3], due=due, status=status))
    fill(*rows)
    listed, after = ("task", "list", "--sort", sort, "--limit", 3), ()
    for number in range(1, 5):
        page, walked = taskdb(*listed, "--page", number), taskdb(*listed, *after)
        assert page == walked
        assert page.out
        after = tuple(walked.err.splitlines()[-1].split()[1:]) if walked.err else ()
    past = taskdb(*listed, "--page", 9)
    assert (past.out, past.err) == ("", "page 9 is past the end: 10 match, and --page 4 is the last\n")
    assert taskdb(*listed, "--page", 10**9, "--status", "cancelled").err == ""


@SQLITE_ONLY
def test_what_a_terminal_says_of_pages(show, fill, monkeypatch):
    """A terminal says how many there are and which page is next; after a cursor it says the next cursor."""
    fill(*[make_row() for _ in range(7)])

    def said(*options, noun="task", expect=0):
        return show(noun, "list", "--limit", 3, *options, expect=expect)[1]

    assert said() == "3 of 7 \u00b7 --limit 0 shows all \u00b7 --page 2\n"
    assert said("--page", 2) == "4\u20136 of 7 \u00b7 --limit 0 shows all \u00b7 --page 3\n"
    assert said("--page", 3) == "7\u20137, and that is all\n"
    assert said("--limit", 1, noun="user") == "1 of 2 \u00b7 --limit 0 shows all \u00b7 --page 2\n"
    cursor = said("-o", "csv").splitlines()[1].removeprefix("next: --after ")
    assert "next: --after " in said("--after", cursor)
    monkeypatch.setattr(lists, "COUNTED", 4)
    assert said().startswith("3 of more than 4 ")
    assert said("--page", 2).startswith("4\u20136 of more than 6 ")
    monkeypatch.setattr(lists, "SEARCHED", 7)
    assert said("--search", "task").startswith("3 of more than 4 ")
    monkeypatch.setattr(lists, "SEARCHED", 6)
    assert said("--search", "task").startswith("3 of more than 3 ")
    for other in (("--limit", 0), ("--after", cursor)):
        assert "--page" in said("--page", 2, *other, expect=2)
    for noun, option in (("task", "--count"), ("user", "--count"), ("task", "--explain")):
        assert option in said("--page", 2, option, noun=noun, expect=2)


@pytest.fixture
def pager(monkeypatch, tmp_path):
    """Sets the pager of the terminal: a shell command in which {} is a file."""
    file = tmp_path / "paged"

    def pager(command):
        monkeypatch.setenv("TASKDB_PAGER", command.replace("{}", str(file)))
        return file

    return pager


@SQLITE_ONLY
@pytest.mark.parametrize("limit", ["0", "50"])
def test_a_long_table_goes_through_the_pager(show, fill, pager, limit):
    """What is longer than the screen goes to the pager alone, in colour."""
    fill(*[make_row(priority=n % 4 + 1) for n in range(40)])
    file = pager("cat > {}")
    lines, err = show("task", "list", "--limit", limit)
    assert lines == []
    assert err == "40 shown, and that is all\n"
    paged = file.read_text()
    assert paged.count("\n") == 43
    assert "\x1b[1;31m" in paged
    file.unlink()
    assert len(show("task", "list", "--limit", "19")[0]) == 22
    assert not file.exists()


@SQLITE_ONLY
@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("", True),
        ("cat", True),
        ("no-such-program -R", True),
        ("VARIABLE=1 no-such-program", True),
        ("false", True),
        ("cat > /dev/null; exit 3", True),
        ("true", False),
        ("head -c 10 > {}", False),
    ],
)
def test_pagers_that_are_none(show, fill, pager, command, printed):
    """A pager that is off, missing or fails has the table printed; a reader may leave early."""
    fill(*[make_row(title="long " * 20) for _ in range(400)])
    pager(command)
    lines, err = show("task", "list", "--limit", "0", "--wide")
    assert len(lines) == (402 if printed else 0)
    assert "error" not in err


@SQLITE_ONLY
def test_which_pager(show, fill, monkeypatch, pager):
    """TASKDB_PAGER wins over PAGER; a dumb terminal has none, and less gets its options from LESS."""
    fill(*[make_row() for _ in range(40)])
    file = pager("printenv LESS > {}; cat >> {}")
    monkeypatch.setenv("PAGER", "cat")
    monkeypatch.delenv("LESS", raising=False)
    show("task", "list")
    assert file.read_text().splitlines()[0] == "FRX"
    # Twelve lines that take two or three lines of the screen each.
    show("task", "list", "--wide", "--limit", "10")
    assert file.read_text().splitlines()[0] == "RSX"
    monkeypatch.setenv("LESS", "R")
    show("task", "list", "--wide")
    assert file.read_text().splitlines()[0] == "R"
    monkeypatch.setenv("PAGER", os.environ["TASKDB_PAGER"])
    monkeypatch.delenv("TASKDB_PAGER")
    assert show("task", "list")[0] == []
    monkeypatch.setenv("TERM", "dumb")
    assert len(show("task", "list")[0]) == 43


def test_a_failure_after_the_first_screen(screen, pager):
    """What was written before an error is in the pager, and the error comes out of it as it is."""
    file = pager("cat > {}")

    def write():
        with paged(Terminal()) as stream:
            stream.write("line\n" * 30)
            raise DatabaseUnavailable("gone")

    with pytest.raises(DatabaseUnavailable):
        write()
    assert file.read_text() == "line\n" * 30


@SQLITE_ONLY
@pytest.mark.skipif(not shutil.which("less"), reason="less is not installed")
def test_interrupting_the_pager(taskdb, fill):
    """Ctrl-C while less shows a list leaves it there, and is no error."""
    fill(*[make_row() for _ in range(100)])
    words = command("task", "list", "--limit", "0")
    env = {**os.environ, "TERM": "xterm", "PAGER": "less", "LINES": "24", "COLUMNS": "80"}
    child = pexpect.spawn(words[0], words[1:], env=env, dimensions=(24, 80), encoding="utf-8", timeout=30)
    child.expect_exact("Task")
    child.expect(":|END")
    child.send("\x03")
    child.send("q")
    child.read()
    child.close()
    assert child.exitstatus == 0
