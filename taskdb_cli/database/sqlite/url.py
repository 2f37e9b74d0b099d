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
        problem = "begins with ~ or a drive of Windows, which stand for nothing here"
    if problem:
        raise InvalidConfiguration(f"{source} {problem}", FORM)
    return URL.create("sqlite", database=path)


def files_of(url: URL) -> list[Path]:
    """Return the files of a SQLite database, whether or not they are there; none for a server's."""
    if url.get_backend_name() != "sqlite":
        return []
    path = Path(os.path.realpath(url.database or ""))
    return [path, *sidecars(path)]
