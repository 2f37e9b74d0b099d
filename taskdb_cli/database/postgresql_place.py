"""A short name for a PostgreSQL server, which becomes part of the default label."""

from __future__ import annotations

import hashlib
import re
from ipaddress import ip_address

USUAL_PORT = "5432"
_LONGEST = 40
_HASH = 6

_LOCAL_SOCKETS = {"", "the local socket", "/run/postgresql", "/var/run/postgresql", "/tmp"}  # noqa: S108
_NEON = ".neon.tech"


def distinction(server: str) -> str:
    """Return a short name for a server, given as HOST:PORT, of letters, digits, dots and hyphens.

    It is the same for a pooler of Neon and the server behind it, and for all addresses of this machine. A
    name that had to be shortened ends in a hash of the whole name. The port is added unless it is 5432.
    """
    host, _, port = server.lower().rpartition(":")
    # An address that was given beside the name, to be connected to.
    if (both := re.fullmatch(r"(.+) \((.+)\)", host)) is not None:
        host = both[2] if _is_local(both[1]) else both[1]
    port = "" if port == USUAL_PORT else f"-{port}"
    return _host(host.removesuffix(".")) + port


def _host(host: str) -> str:
    if _is_local(host):
        return "localhost"
    if host.startswith(("/", "@")):
        return f"socket-{_digest(host)}"
    # The first part of a Neon host name is unique.
    whole = host.partition(".")[0].removesuffix("-pooler") if host.endswith(_NEON) else host
    short = re.sub("[^a-z0-9.-]+", "-", whole).strip(".-")
    if short == whole and len(short) <= _LONGEST:
        return short
    return f"{short[: _LONGEST - _HASH - 1].rstrip('.-')}-{_digest(whole)}"


def _is_local(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host in _LOCAL_SOCKETS


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:_HASH]
