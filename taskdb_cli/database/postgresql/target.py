"""Ask libpq where a URL leads, with service files, environment variables and defaults taken into account."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import zip_longest
from pathlib import Path

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL

from taskdb_cli.database.postgresql.url import in_place, is_connection_string, parameters
from taskdb_cli.errors import InvalidConfiguration
from taskdb_cli.text.escaping import escape

# libpq looks at this parameter last, after every other one, and before it connects.
_LIBPQ_18 = 180_000
_LAST_PARAMETER = "max_protocol_version" if pq.version() >= _LIBPQ_18 else "target_session_attrs"
_REFUSED = "taskdb-does-not-connect"

# psycopg reads these itself, from its arguments and from the environment, but never from a service file.
_FOR_PSYCOPG = ("host", "hostaddr", "port", "connect_timeout", "target_session_attrs", "load_balance_hosts")
_NUMBERS = ("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")

_ROOTS = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""The variables that OpenSSL takes the file and the directory of root certificates from."""

DEFAULT_PORT = "5432"
_HIGHEST_PORT = 65535
_LONGEST_HOST = 253
_HOST_NAME = re.compile(rf"[A-Za-z0-9_.-]{{0,{_LONGEST_HOST}}}")
_NEON = re.compile(r".+\.neon\.tech\.?", re.IGNORECASE)
_LOCAL_SOCKETS = {"", "the local socket", "/run/postgresql", "/var/run/postgresql", "/tmp"}  # noqa: S108
_HASH = 6
_NEON_POOLER = re.compile(r"^([^.]+)-pooler(\..+\.neon\.tech\.?)$", re.IGNORECASE)


@dataclass(frozen=True)
class Host:
    """One server that libpq may connect to."""

    name: str
    """A host name, an address, or the directory of a socket; empty for libpq's default socket."""
    address: str
    """The `hostaddr`: libpq connects to it, and looks no name up."""
    port: str

    def __str__(self) -> str:
        name = self.name or self.address or "the local socket"
        name = f"[{name}]" if ":" in name and not name.startswith("/") else name
        both = self.name and self.address and self.name != self.address
        return f"{name} ({self.address}):{self.port}" if both else f"{name}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether it is a socket or a loopback address of this machine."""
        host = self.address or self.name
        return host.startswith(("/", "@")) or _is_local(host.lower())


@dataclass(frozen=True)
class Target:
    """Where libpq connects to."""

    parameters: Mapping[str, str] = field(repr=False)
    """What psycopg is given. It holds the password, if the URL has one."""
    hosts: tuple[Host, ...]
    database: str
    options: str
    """The settings of a session that the URL, the service or PGOPTIONS asks for."""

    @classmethod
    def of(cls, url: URL) -> Target:
        """Ask libpq how it reads a URL.

        Encryption is required of a server on another machine, unless the URL, the service or the environment
        chooses an sslmode. Raises InvalidConfiguration for what libpq would refuse before it connects.
        """
        given = parameters(url)
        found, objection = _ask(given)
        if not found:
            raise _unusable(objection)
        hosts = _hosts(found)
        if not all(host.is_local for host in hosts) and not _chooses_sslmode(given, found):
            given["sslmode"] = "require"
            _, objection = _ask(given)
        if _REFUSED not in objection:
            raise _unusable(objection)
        _require_sound(found, hosts)
        if found.get("sslrootcert") == "system":
            _name_system_roots()
        from_elsewhere = {name: found[name] for name in _FOR_PSYCOPG if name in found}
        if from_elsewhere.get("connect_timeout") == os.environ.get("PGCONNECT_TIMEOUT"):
            # TASKDB_CONNECT_TIMEOUT goes before this variable, but not before a service.
            from_elsewhere.pop("connect_timeout", None)
        return cls(from_elsewhere | given, hosts, found["dbname"], found.get("options", ""))

    @property
    def direct_hosts(self) -> list[str]:
        """The names of the hosts without Neon's mark of a pooler."""
        return [_NEON_POOLER.sub(r"\1\2", host.name) for host in self.hosts]

    @property
    def servers(self) -> set[tuple[str, int]]:
        """Each name and address of each host in one spelling, with the port. No name is looked up."""
        return {
            (_one_spelling(text), int(host.port))
            for host in self.hosts
            for text in {host.name, host.address} - {""} or {""}
        }


def past_neon_pooler(url: URL) -> URL:
    """Return the URL of the direct endpoint, if it leads to a pooler of Neon; else the URL as it is."""
    target = Target.of(url)
    if target.direct_hosts == [host.name for host in target.hosts]:
        return url
    ports = ",".join(host.port for host in target.hosts)
    return in_place(url.update_query_dict({"host": ",".join(target.direct_hosts), "port": ports}))


def may_be_same(url: URL, direct: URL) -> bool:
    """Return whether two URLs can be the pooled and the direct address of one database.

    A pooler may well have another host than its server. Those of Neon differ by a part of the name only.
    """
    first, second = Target.of(url), Target.of(direct)
    if first.database != second.database:
        return False
    if not any(_NEON.fullmatch(host.name) for host in first.hosts + second.hosts):
        return True
    names = [{name.lower().rstrip(".") for name in target.direct_hosts} for target in (first, second)]
    return names[0] == names[1]


def distinction(server: str, schema: str | None = None) -> str:
    """Return a short name for a server, given as HOST:PORT, and the chosen schema, for the default label.

    A pooler of Neon and the server behind it have the same name, and so have all addresses of this machine. A
    name that had to be changed ends in a hash of the whole name. The port is added unless it is 5432. Several
    servers, with commas between, have the same name in any order.
    """
    names = sorted({_distinction(each) for each in server.split(",")})
    parts = names if len(names) == 1 else [_fitting("+".join(names), longest=40)]
    if schema is not None:
        parts.append(_fitting(schema, longest=20))
    return "-".join(parts)


def _distinction(server: str) -> str:
    host, _, port = server.lower().rpartition(":")
    if (both := re.fullmatch(r"(.+) \((.+)\)", host)) is not None:
        # The user gave an address beside the name, and libpq connects to the address.
        host = both[2] if _is_local(both[1]) else both[1]
    host = host.removesuffix(".")
    if _is_local(host):
        parts = ["localhost"]
    elif host.startswith(("/", "@")):
        parts = [f"socket-{_digest(host)}"]
    else:
        # The first part of a Neon host name is unique.
        neon = _NEON.fullmatch(host) is not None
        parts = [_fitting(host.partition(".")[0].removesuffix("-pooler") if neon else host, longest=40)]
    if port != DEFAULT_PORT:
        parts.append(port)
    return "-".join(parts)


def _fitting(whole: str, *, longest: int) -> str:
    short = re.sub("[^A-Za-z0-9_.-]+", "-", whole).strip("_.-")
    if short == whole and len(short) <= longest:
        return short
    return f"{short[: longest - _HASH - 1].rstrip('_.-')}-{_digest(whole)}".lstrip("-")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:_HASH]


def _one_spelling(host: str) -> str:
    host = _NEON_POOLER.sub(r"\1\2", host.lower().rstrip("."))
    with suppress(OSError, UnicodeError):
        host = str(socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)[0][4][0])
    return "localhost" if host.startswith(("/", "@")) or _is_local(host) else host


def _is_local(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host in _LOCAL_SOCKETS


def _ask(given: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Return the value of every parameter, as libpq finds it, and what libpq objects to.

    There are no values if the service cannot be read. An objection that holds _REFUSED is to what was
    added here: libpq stops at it, so that it does not connect.
    """
    if any("\0" in value for value in given.values()):
        raise _unusable("a parameter holds the character NUL")
    # With a password libpq leaves the password file alone. It would warn about one that others can read.
    question = {**given, "password": "-", _LAST_PARAMETER: _REFUSED}
    try:
        connection = pq.PGconn.connect_start(make_conninfo(**question).encode())
    except psycopg.ProgrammingError as exc:
        raise _unusable(str(exc)) from None
    try:
        values = {option.keyword.decode(): option.val for option in connection.info}
        found = {name: value.decode(errors="replace") for name, value in values.items() if value}
        return found, connection.get_error_message()
    finally:
        connection.finish()


def _name_system_roots() -> None:
    """Tell OpenSSL where the system has its root certificates.

    The OpenSSL in psycopg's wheels looks for them in a directory that no system has. Python's own knows.
    """
    if os.environ.keys().isdisjoint(_ROOTS):
        import ssl

        paths = ssl.get_default_verify_paths()
        named = zip(_ROOTS, (paths.cafile, paths.capath), strict=True)
        os.environ.update({name: path for name, path in named if path})


def _chooses_sslmode(given: Mapping[str, str], found: Mapping[str, str]) -> bool:
    if found.get("sslmode") != "prefer" or "PGSSLMODE" in os.environ:
        return True
    # The default is also "prefer". Under another default the mode differs, unless somebody asked for it.
    os.environ["PGSSLMODE"] = "disable"
    try:
        return _ask(given)[0].get("sslmode") == "prefer"
    finally:
        del os.environ["PGSSLMODE"]


def _hosts(found: Mapping[str, str]) -> tuple[Host, ...]:
    names, addresses, ports = (found.get(name, "").split(",") for name in ("host", "hostaddr", "port"))
    count = max(len(names), len(addresses))
    ports = ports * count if len(ports) == 1 else ports[:count]
    triples = zip_longest(names, addresses, ports, fillvalue="")
    return tuple(Host(name, address, port.strip() or DEFAULT_PORT) for name, address, port in triples)


def _require_sound(found: Mapping[str, str], hosts: tuple[Host, ...]) -> None:
    """Raise InvalidConfiguration for a value that libpq itself would check only when it connects."""
    whole, port = re.compile(r"\s*[+-]?[0-9]{1,9}\s*"), re.compile("[0-9]{1,9}")
    # A password that is not escaped may be taken for a host or a port, so no value is repeated.
    faults = {
        "a host or the database has a control character in its name": (
            min("".join([found["dbname"], *map(str, hosts)])) < " "
        ),
        "the name of the database is a connection string": is_connection_string(found["dbname"]),
        "a host or hostaddr is neither a host name nor an address": not all(map(_may_exist, hosts)),
        f"a port is not a number from 1 to {_HIGHEST_PORT}": not all(
            port.fullmatch(host.port) and 1 <= int(host.port) <= _HIGHEST_PORT for host in hosts
        ),
        "the password file has an odd name, and is not a file for its owner alone": (
            _is_warned_of(found.get("passfile", ""))
        ),
        **{
            f"{name} is not a whole number": not whole.fullmatch(found.get(name, "0"))
            for name in (*_NUMBERS, "connect_timeout")
        },
    }
    for fault, is_there in faults.items():
        if is_there:
            raise _unusable(fault)


def _may_exist(host: Host) -> bool:
    """Return whether a server can have this name or directory of its socket, and numeric address."""
    # Python would encode a long text for seconds, until it finds out that it is too long.
    if max(len(host.name), len(host.address)) > _LONGEST_HOST:
        return False
    try:
        if host.address:
            socket.getaddrinfo(host.address, None, flags=socket.AI_NUMERICHOST)
        if host.name.startswith(("/", "@")):
            return True
        if ":" in host.name:
            return bool(ip_address(host.name))
        # As Python encodes it when it looks the name up.
        return bool(_HOST_NAME.fullmatch(host.name.encode("idna").decode()))
    except (OSError, ValueError):
        return False


def _is_warned_of(passfile: str) -> bool:
    """Return whether libpq would warn on stderr about a password file whose name drives a terminal."""
    with suppress(OSError, ValueError):
        mode = Path(passfile).stat().st_mode
        return escape(passfile) != passfile and (not stat.S_ISREG(mode) or bool(mode & 0o077))
    return False


def _unusable(reason: str) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"the database URL is not usable: {reason.strip().partition(chr(10))[0]}",
        "check the user and parameters of the URL, its service, and PGUSER, PGHOST and the like",
    )
