"""A short name for a PostgreSQL server and schema, which becomes part of the default label."""

from __future__ import annotations

import hashlib
import re
from ipaddress import ip_address

USUAL_PORT = "5432"
_LONGEST = 40
_LONGEST_SCHEMA = 20
_HASH = 6

_LOCAL_SOCKETS = {"", "the local socket", "/run/postgresql", "/var/run/postgresql", "/tmp"}  # noqa: S108
_NEON = ".neon.tech"


def distinction(server: str, schema: str | None = None) -> str:
    """Return a short name for a server, given as HOST:PORT, and the chosen schema, fit for a label.

    It is the same for a pooler of Neon and the server behind it, and for all addresses of this machine. A
    name that had to be changed ends in a hash of the whole name. The port is added unless it is 5432.
    """
    host, _, port = server.lower().rpartition(":")
    # An address that was given beside the name, to be connected to.
    if (both := re.fullmatch(r"(.+) \((.+)\)", host)) is not None:
        host = both[2] if _is_local(both[1]) else both[1]
    parts = [_host(host.removesuffix("."))]
    if port != USUAL_PORT:
        parts.append(port)
    if schema is not None:
        parts.append(_fitting(schema, _LONGEST_SCHEMA))
    return "-".join(parts)


def _host(host: str) -> str:
    if _is_local(host):
        return "localhost"
    if host.startswith(("/", "@")):
        return f"socket-{_digest(host)}"
    # The first part of a Neon host name is unique.
    whole = host.partition(".")[0].removesuffix("-pooler") if host.endswith(_NEON) else host
    return _fitting(whole, _LONGEST)


def _fitting(whole: str, longest: int) -> str:
    short = re.sub("[^A-Za-z0-9_.-]+", "-", whole).strip("_.-")
    if short == whole and len(short) <= longest:
        return short
    return f"{short[: longest - _HASH - 1].rstrip('_.-')}-{_digest(whole)}".lstrip("-")


def _is_local(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host in _LOCAL_SOCKETS


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:_HASH]
