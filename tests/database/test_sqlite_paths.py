"""Which file a SQLite URL means: the one that was written, or none."""

import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.samples import add_user

REFUSED = [
    ("sqlite:////{here}/a?b.db", "takes a path and nothing else"),
    ("sqlite:///a.db?mode=ro", "takes a path and nothing else"),
    ("sqlite:///a.db?", "takes a path and nothing else"),
    ("sqlite://ann@/a.db", "takes a path and nothing else"),
    ("sqlite://host/a.db", "takes a path and nothing else"),
    ("sqlite://:80/a.db", "takes a path and nothing else"),
    ("sqlite://a.db", "takes a path and nothing else"),
    ("sqlite:a.db", "is not a database URL"),
    ("sqlite:/a.db", "is not a database URL"),
    ("sqlite", "is not a database URL"),
    ("sqlite:///a\nb.db", "is not a database URL"),
    ("sqlite:///a%00b.db", "zero byte"),
    ("sqlite://", "names no file"),
    ("sqlite:///", "names no file"),
    ("sqlite:////", "names no file"),
    ("sqlite:///.", "names no file"),
    ("sqlite:///a/..", "names no file"),
    ("sqlite:///a.db/", "names no file"),
    ("sqlite:///:memory:", "names no file"),
    (r"sqlite:///C:\a.db", "Windows"),
    ("sqlite:///c:/a.db", "Windows"),
    ("sqlite:///~/a.db", "begins with ~"),
    ("sqlite:///~ann/a.db", "begins with ~"),
    (f"sqlite:///{'x' * 250}", "too long"),
    (f"sqlite:///{'x/' * 300}a.db", "too long"),
]


@pytest.mark.parametrize(("url", "why"), REFUSED)
def test_a_url_that_is_no_path(bare_taskdb, tmp_path, url, why):
    """It is refused with the reason, and no file is made."""
    url = url.format(here=str(tmp_path)[1:])
    before = sorted(tmp_path.rglob("*"))
    for arguments in (["user", "create", "--email", "a@example.com", "--name", "A"], ["migrate"]):
        failed = bare_taskdb("--database-url", url, *arguments, expect=2)
        assert why in failed.err
        assert failed.err.count("\n") == 1
    bare_taskdb("copy", "--to", url, expect=2)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("a%3Fb.db", "a?b.db"),
        ("a#b;c&d=e.db", "a#b;c&d=e.db"),
        ("100%.db", "100%.db"),
        ("a%2541.db", "a%41.db"),
        ("a%ffb.db", os.fsdecode(b"a\xffb.db")),
        ("a%0Ab c.db", "a\nb c.db"),
        ("file:a.db", "file:a.db"),
        ("~a.db", "~a.db"),
        ("ü+%2B.db", "ü++.db"),
        ("x" * 247, "x" * 247),
    ],
)
def test_every_other_path_is_the_one_that_is_used(bare_taskdb, written, name):
    """The file has the name that was written, relative or absolute, and so have all that come from it."""
    bare_taskdb("--database-url", f"sqlite:///{written}", "migrate")
    here = "sqlite:///" + str(Path.cwd()) + "/"
    bare_taskdb("--database-url", here + written, "user", "create", "--email", "a@example.com", "--name", "A")
    bare_taskdb("--database-url", here + written, "copy", "--to", f"sqlite:///copied/{written}")
    assert [path.name for path in Path().iterdir() if path.is_file()] == [name]
    assert [path.name for path in Path("copied").iterdir()] == [name]
    with closing(sqlite3.connect(os.fsencode(Path.cwd() / "copied" / name))) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (1,)


def test_a_parent_behind_a_link(bare_taskdb, tmp_path):
    """Two dots behind a symbolic link mean the parent of what it leads to, as everywhere else."""
    (tmp_path / "there" / "deep").mkdir(parents=True)
    (tmp_path / "cwd" / "link").symlink_to(tmp_path / "there" / "deep")
    bare_taskdb("--database-url", "sqlite:///link/../x.db", "migrate")
    assert (tmp_path / "there" / "x.db").is_file()
    assert [path.name for path in (tmp_path / "cwd").iterdir()] == ["link"]


@pytest.mark.parametrize("kind", ["directory", "pipe", "socket", "device"])
def test_what_is_no_file(bare_taskdb, kind):
    """A place that is something other than a file is refused, and stays as it is."""
    path = Path("place.db")
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        match kind:
            case "directory":
                path.mkdir()
            case "pipe":
                os.mkfifo(path)
            case "socket":
                listener.bind(str(path))
            case "device":
                path.symlink_to("/dev/null")
        before = path.lstat()
        for arguments in (["user", "list"], ["migrate"], ["restore", "/none"], ["backup", "--dir", "d"]):
            failed = bare_taskdb("--database-url", f"sqlite:///{path}", *arguments, expect=None)
            assert failed.code in ((2, 3) if arguments[0] == "restore" else (2,)), failed
            assert failed.err.count("\n") == 1
        assert path.lstat().st_mtime_ns == before.st_mtime_ns or kind == "directory"


@pytest.mark.parametrize("size", [15, 99, 100, 512, 4096])
@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_the_beginning_of_a_file(bare_taskdb, database, size):
    """Of a file that was cut off nothing is taken for an empty database, and nothing is written to it."""
    add_user(database)
    path = Path("cut.db")
    path.write_bytes(Path(str(database.url.database)).read_bytes()[:size])
    before = path.read_bytes()
    for arguments in (
        ["user", "list"],
        ["user", "create", "--email", "a@example.com", "--name", "A"],
        ["migrate"],
        ["backup", "--file", "archive"],
    ):
        failed = bare_taskdb("--database-url", "sqlite:///cut.db", *arguments, expect=None)
        assert failed.code in (1, 6, 7), failed
        assert failed.err.count("\n") == 1
    assert path.read_bytes() == before


def test_a_link_that_leads_nowhere(bare_taskdb, tmp_path):
    """A database is missing where a symbolic link leads to nothing, and is made there."""
    Path("link.db").symlink_to(tmp_path / "real.db")
    bare_taskdb("--database-url", "sqlite:///link.db", "user", "list", expect=3)
    bare_taskdb("--database-url", "sqlite:///link.db", "migrate")
    assert (tmp_path / "real.db").is_file()
    assert Path("link.db").is_symlink()


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("tour.db", "tour.db"),
        (" a b.sqlite ", "a b.sqlite"),
        ("./100%41?.SQLITE3", "100%41?.SQLITE3"),
        ("deep/x.sqlite3", "deep/x.sqlite3"),
        ("{here}/y.db", "y.db"),
        ("~/z.db", "../home/z.db"),
        ("~z.db", "~z.db"),
        ("./a:b@c.db", None),
    ],
)
@pytest.mark.parametrize("place", ["option", "environment", ".env", "copy"])
def test_a_path_is_as_good_as_a_url(bare_taskdb, monkeypatch, written, found, place):
    """A path that ends as those of databases do is taken as it is written, wherever a URL is."""
    path, options = written.format(here=Path.cwd()), ["--database-url", "sqlite:///source"]
    if place == "option":
        options = ["--database-url", path]
    elif place != "copy":
        options = []
        monkeypatch.setenv("TASKDB_DATABASE_URL", path if place == "environment" else "")
        Path(".env").write_text(f"TASKDB_DATABASE_URL='{path}'\n" if place == ".env" else "")
    code = 0 if found else 2
    made = bare_taskdb(*options, "migrate", expect=0 if place == "copy" else code)
    if place == "copy":
        made = bare_taskdb(*options, "copy", "--to", path, expect=code)
    assert Path(found).is_file() if found else ".sqlite3" in made.err


@pytest.mark.parametrize(
    "text",
    ["tour", "x.dbx", ".db", "a.db/", "a.db/.", "a\nb.db", "sqlite:a.db", "u:p4ss@h/d.db", "~nobody_/a.db"],
)
def test_what_is_neither_url_nor_path(bare_taskdb, tmp_path, text):
    """It is refused as before, with a hint to the endings, and makes no file."""
    before = sorted(tmp_path.rglob("*"))
    failed = bare_taskdb("--database-url", text, "migrate", expect=2)
    assert ".sqlite3" in failed.err
    assert "p4ss" not in failed.err
    assert sorted(tmp_path.rglob("*")) == before
