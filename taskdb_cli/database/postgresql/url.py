"""Read the URL of a PostgreSQL server in every form that libpq and SQLAlchemy know."""

import re
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import quote, unquote

from sqlalchemy import URL, make_url

DRIVER = "postgresql+psycopg"

_SCHEME = re.compile(r"postgres(?:ql)?(?:\+\w+)?://")
_URL = re.compile(_SCHEME.pattern + r"(?P<user>[^/?@]*@)?(?P<hosts>[^/?@]*)(?P<rest>(?:[/?][^@]*)?)")
_HOST = re.compile(r"(?P<name>\[[^\]]*\]|[^:/\[\]]*)(?::(?P<port>[^:]*))?")


def is_postgresql(text: str) -> bool:
    """Return whether a URL names PostgreSQL, by whichever driver."""
    return bool(_SCHEME.match(text))


def is_connection_string(name: str) -> bool:
    """Return whether psql would read a name as a connection string, which may have a password."""
    return is_postgresql(name) or "=" in name


def read_url(text: str) -> URL:
    """Return the URL with taskdb's driver, and its hosts, ports and password in their own places.

    Several hosts stand in `host` with commas between, as libpq takes them; their ports are the
    parameter `port`. Raises ValueError or ArgumentError for text that is no such URL.
    """
    # An unescaped @ in a password would make the rest of the password the host, which is shown.
    if not (parts := _URL.fullmatch(text)):
        raise ValueError("this is not a URL, or an @ in it is not escaped")
    # SQLAlchemy reads neither several hosts with ports nor a port that is left empty.
    url = make_url(f"{DRIVER}://{parts['user'] or ''}{parts['rest']}")
    if parts["hosts"]:
        names, ports = _hosts([parts["hosts"]])
        url = url.set(host=",".join(unquote(name) for name in names))
        if any(ports) and "port" not in url.query:
            url = url.update_query_dict({"port": ",".join(ports)})
    return in_place(url)


def in_place(url: URL) -> URL:
    """Return a URL whose hosts, ports and password stand in their own places, and not in its query."""
    query = dict(url.query)
    if given := query.pop("password", ""):
        # SQLAlchemy hides a password when it prints a URL, but not one that is given as a parameter.
        url = url.set(password=_last(given))
    if given := query.pop("host", ""):
        names, ports = _hosts([given] if isinstance(given, str) else given)
        url = url.set(host=",".join(names))
        if any(ports):
            query["port"] = ",".join(ports)
    if re.fullmatch("[0-9]{1,5}", port := _last(query.get("port", ""))):
        url = url.set(port=int(port))
        del query["port"]
    return url.set(query=query)


def written_hosts(url: URL) -> tuple[URL, str]:
    """Return the URL without its ports, and the hosts with their ports as a URL has them.

    Ports that fit no hosts stay where they are.
    """
    url = in_place(url)
    names, ports = (url.host or "").split(","), _last(url.query.get("port", "")) or str(url.port or "")
    each = ports.split(",") if "," in ports else [ports] * len(names)
    if len(each) != len(names):
        return url, ",".join(map(_written, names))
    query = {name: value for name, value in url.query.items() if name != "port"}
    pairs = zip(map(_written, names), each, strict=True)
    # URL.set() leaves a port in its place.
    plain = url._replace(port=None).set(query=query)
    return plain, ",".join(f"{name}:{port}" if port else name for name, port in pairs)


def _written(name: str) -> str:
    if re.search("^[^/@].*:|^:", name):
        return f"[{name}]"
    return quote(name, safe="") if name[:1] in "/@" else name


def parameters(url: URL) -> dict[str, str]:
    """Return the libpq parameters of a URL. Its query wins over the part before it."""
    url = in_place(url)
    names = ("host", "port", "user", "password", "dbname")
    places = zip(names, (url.host, url.port, url.username, url.password, url.database), strict=True)
    given = {name: str(value) for name, value in places if value not in (None, "")}
    given |= {name: _last(value) for name, value in url.query.items()}
    if isinstance(options := url.query.get("options"), tuple):
        given["options"] = " ".join(options)
    return given


def _hosts(given: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split hosts as libpq writes them (a,b) or SQLAlchemy (a:1 in each of several parameters)."""
    names, ports = [], []
    for entry in (each for several in given for each in several.split(",")):
        match = _HOST.fullmatch(entry)
        if not match and not entry.startswith("/"):
            # Only an IPv6 address is allowed here. Other text may be part of a password: raise ValueError.
            ip_address(entry)
        names.append(match["name"].strip("[]") if match else entry)
        ports.append((match["port"] or "") if match else "")
    return names, ports


def _last(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else value[-1]
