"""URLs of SQLite files: each means the file whose path was written, and no other."""

import os
import re
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy import URL

from taskdb_cli.database.sqlite.files import sidecars
from taskdb_cli.errors import InvalidConfiguration

FORM = "write sqlite:///relative/path or sqlite:////absolute/path; in the path write ? as %3F and % as %25"

_ELSEWHERE = re.compile(r"[A-Za-z]:[\\/]|~[^/]*/")
"""What begins a path on another system, or in a shell, but would be a name here."""

_ENDINGS = {".db", ".sqlite", ".sqlite3"}
"""How the name of a file ends whose path is taken for a database."""

_SCHEME = re.compile(r"[A-Za-z][\w+.-]*:")


def parse_sqlite_path(text: str) -> URL | None:
    """Return the URL of a file by its path, or None for a text that is no path of a database.

    Every character stands for itself, except that `~/` and `~user/` are home directories. Raises ValueError
    for a path with control characters, or with a home that is not known.
    """
    if os.path.splitext(text)[1].lower() not in _ENDINGS:  # noqa: PTH122 (a Path would drop a slash at the end)
        return None
    if _SCHEME.match(text) or "://" in text or ":" in text.rpartition("@")[0]:
        # This is a URL, or a part of one that may hold a password.
        return None
    path = os.path.expanduser(text)  # noqa: PTH111 (a Path would drop "./" and "//")
    if min(path) < " " or _ELSEWHERE.match(path):
        raise ValueError("this names no file")
    return URL.create("sqlite", database=path)


def parse_sqlite_url(text: str, source: str) -> URL:
    """Return the URL of a file; raise InvalidConfiguration, which repeats nothing of the text.

    SQLAlchemy's own parser is not enough: it ignores a user name and what follows a "?", and replaces
    bytes that are not UTF-8. `source` says in an error where the URL came from.
    """
    place, _, written = text.strip().partition("://")[2].partition("/")
    path = unquote(written, errors="surrogateescape")
    problem = ""
    if place or "?" in written:
        problem = "is wrong: a SQLite URL takes a path and nothing else"
    elif path in ("", ":memory:") or path.endswith(("/", "/.")) or Path(path).name in ("", ".."):
        problem = "names no file"
    elif "\0" in path:
        problem = "has a zero byte in its path"
    elif _ELSEWHERE.match(path):
        problem = "begins with ~ or a drive letter of Windows, which taskdb does not expand here"
    if problem:
        raise InvalidConfiguration(f"{source} {problem}", FORM)
    return URL.create("sqlite", database=path)


def files_of(url: URL) -> list[Path]:
    """Return the files of a SQLite database, whether or not they are there; none for a server's."""
    if url.get_backend_name() != "sqlite":
        return []
    path = Path(os.path.realpath(url.database or ""))
    return [path, *sidecars(path)]
