"""taskdb task edit: the text, the editor, and what becomes of what was typed."""

import errno
import re
import shlex
import stat
import time
from datetime import UTC, datetime
from pathlib import Path

import pexpect
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskdb_cli.cli.context import Invocation
from taskdb_cli.cli.edit import changes, parse, render
from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus
from tests.conftest import NOW, open_database
from tests.processes import command
from tests.samples import add_task, add_user, task_records
from tests.schemas import execute

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
TASK = {
    "id": 7,
    "version": 3,
    "title": "Write",
    "status": TaskStatus.TODO,
    "priority": TaskPriority.HIGH,
    "due_at": None,
    "user": "ann@example.com",
    "description": None,
}
TEXT = render(TASK)
BEFORE = parse(TEXT)


def differing(text, task=TASK):
    return changes(parse(render(task)), parse(text), now=NOW)


class TestText:
    """The format, without an editor."""

    HOSTILE = (
        "---",
        "# x",
        "a: b",
        " x ",
        "title: y",
        "\u2028---",
        "x\x85y",
        "\n---\nstatus: done",
        "\ufeff",
        "",
    )

    @given(
        title=st.one_of(st.sampled_from(HOSTILE), st.text(max_size=50)),
        description=st.one_of(st.sampled_from(HOSTILE), st.none(), st.text(max_size=200)),
        due=st.one_of(st.none(), st.datetimes(timezones=st.just(UTC))),
    )
    def test_an_unchanged_text_changes_nothing(self, title, description, due):
        """Whatever a task holds, its text comes back as it was, with other line ends too."""
        task = {**TASK, "title": title, "description": description, "due_at": due}
        text = render(task)
        for saved in (text, text.replace("\n", "\r\n"), f"\ufeff{text}", f"\n{text}\n\n"):
            assert differing(saved.encode().decode(), task) == {}

    @pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/St_Johns", "Africa/Monrovia"])
    @pytest.mark.parametrize(
        "moment",
        [
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
            datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
            datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
            datetime(2026, 11, 27, 22, 59, 59, tzinfo=UTC),
            datetime(2026, 11, 27, 16, 0, tzinfo=UTC),
            datetime(2026, 11, 27, 16, 0, 1, 20, tzinfo=UTC),
            datetime(1950, 1, 1, 0, 44, 30, tzinfo=UTC),
        ],
    )
    def test_a_due_date_is_read_back_as_it_is(self, monkeypatch, zone, moment):
        """The text of a due date means the same moment, in any zone and in an hour that exists twice."""
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        try:
            shown = parse(render({**TASK, "due_at": moment}))["due"]
            assert changes(BEFORE, {**BEFORE, "due": shown}, now=NOW) == {"due_at": moment}
        finally:
            monkeypatch.undo()
            time.tzset()

    def test_a_due_date_is_short_where_it_can_be(self, monkeypatch):
        """The end of a day is that day, and a whole minute has no seconds."""
        for moment, shown in (
            (datetime(2026, 11, 27, 23, 59, 59, tzinfo=UTC), "2026-11-27"),
            (datetime(2026, 11, 27, 17, 0, tzinfo=UTC), "2026-11-27 17:00"),
            (None, "none"),
        ):
            assert parse(render({**TASK, "due_at": moment}))["due"] == shown

    @pytest.mark.parametrize(
        ("old", "new", "values"),
        [
            ("title: Write", "title:  --- ", {"title": "---"}),
            ("title: Write", "Title:#1: a", {"title": "#1: a"}),
            ("\nstatus: todo", "\n\n# status: done\nstatus: DONE", {"status": "done"}),
            ("due: none", "due: 2026-12-01T17:00Z", {"due_at": datetime(2026, 12, 1, 17, tzinfo=UTC)}),
            ("due: none", "due:", {"due_at": None}),
            ("user: ann@example.com", "user: 2", {"user": "2"}),
            ("---\n\n", "---\n\none\n---\ntitle: two\n\n", {"description": "one\n---\ntitle: two"}),
        ],
    )
    def test_what_differs_is_changed(self, old, new, values):
        """Each line sets its field, and everything behind the second fence is the description."""
        assert differing(TEXT.replace(old, new)) == values

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("", "line 1"),
            ("title: x\n---\n", "line 1"),
            ("---\ntitle: x\n", "second line ---"),
            (TEXT.replace("status: todo\n", ""), "status"),
            (TEXT.replace("status: todo", "status todo"), "line 8"),
            (TEXT.replace("status: todo", "state: todo"), "line 8"),
            (TEXT.replace("status: todo", "title: todo"), "line 8"),
            (TEXT.replace("due: none", "due: someday"), "someday"),
        ],
    )
    def test_what_is_no_task_is_refused(self, text, named):
        """The line at fault is named."""
        with pytest.raises(InvalidInput, match=re.escape(named)):
            differing(text)


@pytest.fixture
def database(url):
    """A database with two users and a task."""
    opened = open_database(url)
    add_user(opened)
    add_user(opened, "bob@example.com")
    add_task(opened, title="Write", description="One\nTwo", due_at="2026-12-01T17:00:00.5Z")
    return opened


@pytest.fixture
def editor(monkeypatch, tmp_path):
    """Makes a shell script the editor, to which the file is $1; all streams are a terminal."""
    monkeypatch.setattr(Invocation, "on_terminal", True)
    (place := tmp_path / "texts").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    script = tmp_path / "an editor"

    def use(code, setting="EDITOR", more=""):
        script.write_text(f"#!/bin/sh\n{code}\n")
        script.chmod(0o755)
        monkeypatch.setenv(setting, f"{shlex.quote(str(script))} {more}")

    use.place = place
    return use


def test_a_change(taskdb, database, editor):
    """What was typed is written as one change, and the file is gone."""
    editor('sed -i "s/^title: .*/title: Read/; s/^user: .*/user: bob@example.com/; s/^Two/Three/" "$1"')
    taskdb("task", "edit", "1")
    [task] = task_records(database)
    assert [task[name] for name in ("title", "user", "description", "version")] == [
        "Read",
        "bob@example.com",
        "One\nThree",
        2,
    ]
    assert task["due_at"] == datetime(2026, 12, 1, 17, 0, 0, 500_000, tzinfo=UTC)
    assert not [*editor.place.iterdir()]


@SQLITE_ONLY
@pytest.mark.parametrize("code", ["true", 'touch "$1"', 'printf "\\n\\n" >> "$1"'])
def test_no_change(taskdb, database, editor, code):
    """An editor that is closed without a change changes nothing, and that is said."""
    before = task_records(database)
    editor(code)
    shown = taskdb("task", "edit", "1")
    assert (shown.out, "nothing was changed" in shown.err) == ("", True)
    assert task_records(database) == before
    assert not [*editor.place.iterdir()]


def test_somebody_else_was_faster(taskdb, database, url, editor):
    """A task that has changed meanwhile is left alone, and the text is kept in a file for its owner."""
    editor('sed -i "s/^title: .*/title: Mine/" "$1"; ' + shlex.join(command("task", "done", "1")))
    failed = taskdb("task", "edit", "1", expect=4)
    assert "meanwhile" in failed.err
    file = Path(re.search(r"your text is in (\S+)", failed.err)[1].rstrip(")"))
    assert "title: Mine" in file.read_text()
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    [task] = task_records(database)
    assert (task["title"], task["status"]) == ("Write", TaskStatus.DONE)
    execute(url, "DELETE FROM tasks")
    taskdb("task", "edit", "1", expect=3)


REFUSED = {
    "a status that there is not": "s/^status: .*/status: later/",
    "a user who does not exist": "s/^user: .*/user: carl@example.com/",
    "a control character": "s/^title: .*/title: a\\x1b[31m/",
    "a title that is too long": f"s/^title: .*/title: {'x' * 501}/",
    "a fence that is gone": "s/^---$//",
    "bytes that are not UTF-8": "s/^title: .*/title: \\xff/",
    "no title": "s/^title: .*/title:/",
}


@SQLITE_ONLY
@pytest.mark.parametrize("edit", REFUSED.values(), ids=REFUSED)
def test_a_refused_text_can_be_edited_again(taskdb, database, editor, edit):
    """The editor opens again with what was typed; whoever gives up loses nothing of it."""
    editor(f"""if grep -qa TYPED "$1"; then sed -i 's/TYPED/AGAIN/' "$1"; else LC_ALL=C sed -i '{edit}' "$1"
echo TYPED >> "$1"; fi""")
    gone = taskdb("task", "edit", "1", stdin="\nn\n", expect=9)
    assert gone.err.count("Edit it again?") == 2
    assert "\x1b" not in gone.err
    [file] = editor.place.glob("*/task-1.md")
    assert b"AGAIN" in file.read_bytes()
    assert str(file) in gone.err
    taskdb("task", "edit", "1", stdin="", expect=9)
    assert task_records(database)[0]["version"] == 1


@SQLITE_ONLY
def test_a_text_is_corrected(taskdb, database, editor):
    """After a refused text the corrected one is written."""
    editor(
        """if grep -q later "$1"; then sed -i 's/later/done/' "$1"; else sed -i 's/todo$/later/' "$1"; fi"""
    )
    taskdb("task", "edit", "1", stdin="y\n")
    assert task_records(database)[0]["status"] == TaskStatus.DONE


@SQLITE_ONLY
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("exit 3", 9),
        ("kill -9 $$", 9),
        ("kill -2 $$", 130),
        ("exit 130", 130),
        ('rm "$1"', 9),
        ('rm -r "$(dirname "$1")"', 9),
        ('rm "$1"; mkfifo "$1"', 9),
        ('rm "$1"; mkdir "$1"', 9),
        ('echo kept >> "$1"; exit 1', 9),
        ('echo kept >> "$1"; exit 130', 130),
        ('echo kept; head -c 300000 /dev/zero > "$1"', 9),
    ],
)
def test_an_editor_that_fails(taskdb, database, editor, code, expected):
    """Nothing is changed, and only a text that was changed is kept."""
    editor(code)
    failed, kept = taskdb("task", "edit", "1", expect=expected), "kept" in code
    assert bool([*editor.place.iterdir()]) is kept
    assert ("your text is in" in failed.err) is kept
    assert task_records(database)[0]["version"] == 1


@SQLITE_ONLY
def test_which_editor(taskdb, database, editor, monkeypatch):
    """VISUAL goes before EDITOR; either may have options; without both the first that exists is taken."""
    editor('test "$1 $2" = "--wait a b" && sed -i "s/^title: .*/title: Read/" "$3"', more="--wait 'a b'")
    monkeypatch.setenv("VISUAL", "")
    taskdb("task", "edit", "1")
    assert task_records(database)[0]["title"] == "Read"
    for value in ("no-such-editor --wait", "/dev/null", "'", "''", "/"):
        monkeypatch.setenv("VISUAL", value)
        assert "VISUAL" in taskdb("task", "edit", "1", expect=2).err
    monkeypatch.delenv("VISUAL")
    monkeypatch.delenv("EDITOR")
    monkeypatch.setenv("PATH", str(editor.place))
    assert "EDITOR" in taskdb("task", "edit", "1", expect=2).err


@SQLITE_ONLY
def test_nobody_to_edit(taskdb, database, editor, monkeypatch):
    """Without a terminal, and with --no-input, no editor is opened."""
    editor("echo opened >> ../opened")
    taskdb("--no-input", "task", "edit", "1", expect=2)
    monkeypatch.setattr(Invocation, "on_terminal", False)
    assert "task update 1" in taskdb("task", "edit", "1", expect=2).err
    assert not Path("../opened").exists()


@SQLITE_ONLY
def test_an_editor_on_a_real_terminal(taskdb, database, editor, tmp_path):
    """Ctrl-C belongs to the editor, the answer may go to a pipe, and the file is its owner's alone."""
    editor(f"""trap 'echo heard' INT; stat -c %a "$1" > {tmp_path}/mode; test -t 1 && echo ready
read line || read line; sed -i "s/^title: .*/title: $line/" "$1" """)
    line = f"umask 0; exec {shlex.join(command('task', 'edit', '1', '-o', 'json'))} > {tmp_path}/out"
    child = pexpect.spawn("sh", ["-c", line], encoding="utf-8", timeout=60)
    child.expect_exact("ready")
    child.send("\x03")
    child.expect_exact("heard")
    child.send("Read\n")
    said = child.read()
    child.close()
    assert child.exitstatus == 0, said
    assert '"title": "Read"' in (tmp_path / "out").read_text()
    assert (tmp_path / "mode").read_text() == "600\n"


@SQLITE_ONLY
def test_no_room_for_the_text(taskdb, database, editor, monkeypatch):
    """A text that cannot be written opens no editor, and no part of it is left."""
    editor("echo opened >> ../opened")

    def full(path, data):
        with path.open("wb") as file:
            file.write(data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "TMPDIR" in taskdb("task", "edit", "1", expect=1).err
    assert not [*editor.place.iterdir()]
    assert not Path("../opened").exists()
