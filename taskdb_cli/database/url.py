"""URLs of databases of both engines."""

from urllib.parse import quote, unquote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from taskdb_cli.database.postgresql.url import is_postgresql, read_url, written_hosts
from taskdb_cli.database.sqlite.url import parse_sqlite_path, parse_sqlite_url
from taskdb_cli.errors import InvalidConfiguration

_HOSTS = "taskdb-hosts"
"""Stands for the hosts, which SQLAlchemy would not write as it reads them."""


def parse_url(text: str, source: str) -> URL:
    """Return the URL with the driver that taskdb uses. The path of a SQLite file is taken for its URL.

    `source` says in an error where it came from. Raises InvalidConfiguration, which repeats nothing of the
    text, because that may hold a password.
    """
    text = text.strip()
    if "${" in text:
        hint = "write the value out; write a real $ as %24"
        raise InvalidConfiguration(f"{source} contains ${{, which is not expanded", hint)
    try:
        if (file := parse_sqlite_path(text)) is not None:
            return file
        url = _read(text)
    except (ArgumentError, ValueError):
        raise InvalidConfiguration(
            f"{source} is not a database URL",
            "write postgresql://user:password@host/database, sqlite:///path/to/file, or a path that ends in "
            ".db, .sqlite or .sqlite3; in a password write @ as %40",
        ) from None
    if _is_server(url):
        return url
    if url.get_backend_name() == "sqlite":
        return parse_sqlite_url(text, source)
    engine = f"{source} names the database engine {url.get_backend_name()}"
    raise InvalidConfiguration(engine, "taskdb works on postgresql:// and sqlite:///")


def _read(text: str) -> URL:
    """Return the URL; raise ValueError or ArgumentError for a text that is not one."""
    if not is_postgresql(text):
        url, written = make_url(text), text
    else:
        # Everything in it must be UTF-8, also what is percent-encoded. Only a file name need not be.
        unquote(text, errors="strict").encode()
        url = read_url(text)
        # A percent-encoded control character is allowed in the name of a file, but not of a database.
        written = text + (url.database or "")
    if min(written) < " ":
        raise ValueError("a control character, which no name holds")
    return url


def shown(url: URL) -> str:
    """Return a URL as people write it, with *** for its password and for the secrets in its query."""
    if not _is_server(url):
        return url.render_as_string()
    # Few commands show a URL.
    from taskdb_cli.text.passwords import HIDDEN, SECRET

    url, hosts = written_hosts(url)
    query = {name: HIDDEN if SECRET.search(name) else value for name, value in url.query.items()}
    text = url.set(drivername="postgresql", host=_HOSTS, query=query).render_as_string()
    mark = "@" if url.username else "//"
    return text.replace(mark + _HOSTS, mark + hosts, 1).replace(quote(HIDDEN), HIDDEN)


def without_pooler(url: URL) -> URL:
    """Return the direct endpoint of a Neon database: the host without `-pooler`."""
    if not _is_server(url):
        return url
    from taskdb_cli.database.postgresql.target import past_neon_pooler

    return past_neon_pooler(url)


def may_be_same(url: URL, direct: URL) -> bool:
    """Return whether two URLs can be the pooled and the direct address of one database."""
    if not (_is_server(url) and _is_server(direct)):
        return url == direct
    from taskdb_cli.database.postgresql import target

    return target.may_be_same(url, direct)


def may_replicate(url: URL, replica: URL) -> bool:
    """Return whether the second can be the address of a replica of the database of the first."""
    return _is_server(url) and _is_server(replica)


def _is_server(url: URL) -> bool:
    return url.get_backend_name() == "postgresql"
