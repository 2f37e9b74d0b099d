"""A real PgBouncer in transaction mode."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
from sqlalchemy import URL

from tests.processes import start_on_free_port
from tests.waiting import PATIENCE

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
OPENSSL = shutil.which("openssl")

# With server_login_retry a database that was asked for in vain would stay refused for a while.
CONFIGURATION = """\
[databases]
* = {server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 200
server_login_retry = 0
logfile = {log}
"""

# Who asks for encryption gets it.
ENCRYPTION = """\
client_tls_sslmode = allow
client_tls_key_file = {key}
client_tls_cert_file = {certificate}
"""


def start_pooler(
    program: str, server: URL, directory: Path, *, owner: Path, openssl: str | None = None
) -> tuple[URL, Callable[[], None]]:
    """Start a pooler in front of a server, as the owner of its data; return its address and what ends it.

    With `openssl` it has a certificate of its own making, and encrypts what its clients want encrypted.
    """
    home = directory / "pgbouncer"
    home.mkdir(mode=0o755)
    # It refuses to run as root, and only the server's own user may come to the server's socket.
    user = owner.stat() if os.geteuid() == 0 else None
    if user is not None:
        os.chown(home, user.st_uid, user.st_gid)
    text = ""
    if openssl is not None:
        files = {"key": home / "key.pem", "certificate": home / "certificate.pem"}
        _make_certificate(openssl, **files)
        if user is not None:
            os.chown(files["key"], user.st_uid, user.st_gid)
        text = ENCRYPTION.format(**files)

    def start(port: int) -> subprocess.Popen[bytes]:
        where = {"server": _connection_string(server), "port": port, "log": home / "pgbouncer.log"}
        (home / "pgbouncer.ini").write_text(CONFIGURATION.format(**where) + text)
        return subprocess.Popen(
            [program, "-q", str(home / "pgbouncer.ini")],
            user=user and user.st_uid,
            group=user and user.st_gid,
            extra_groups=user and [],
            stdin=subprocess.DEVNULL,
        )

    def url_of(port: int) -> URL:
        return URL.create("postgresql", host="127.0.0.1", port=port, database=server.database)

    port, process = start_on_free_port(start, lambda port: _answers(url_of(port)))

    def stop() -> None:
        process.terminate()
        process.wait(PATIENCE)

    return url_of(port), stop


def _make_certificate(openssl: str, *, key: Path, certificate: Path) -> None:
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost")
    subprocess.run(
        [openssl, "req", "-x509", *kind, "-days", "1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )


def _connection_string(server: URL) -> str:
    parts = {
        "host": server.query.get("host") or server.host,
        "port": server.query.get("port") or server.port,
        "user": server.username,
        "password": server.password,
    }
    return " ".join(f"{name}={value}" for name, value in parts.items() if value)


def _answers(url: URL) -> bool:
    try:
        psycopg.connect(url.render_as_string(), connect_timeout=PATIENCE).close()
    except psycopg.OperationalError:
        return False
    return True
