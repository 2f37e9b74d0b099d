"""A real PgBouncer in transaction mode."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
from sqlalchemy import URL
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    configuration = home / "pgbouncer.ini"
    text = CONFIGURATION.format(server=_connection_string(server), port=port, log=home / "pgbouncer.log")
    if openssl is not None:
        files = {"key": home / "key.pem", "certificate": home / "certificate.pem"}
        _make_certificate(openssl, **files)
        if user is not None:
            os.chown(files["key"], user.st_uid, user.st_gid)
        text += ENCRYPTION.format(**files)
    configuration.write_text(text)
    process = subprocess.Popen(
        [program, "-q", str(configuration)],
        user=user and user.st_uid,
        group=user and user.st_gid,
        extra_groups=user and [],
        stdin=subprocess.DEVNULL,
    )

    def stop() -> None:
        process.terminate()
        process.wait(timeout=10)

    url = URL.create("postgresql", host="127.0.0.1", port=port, database=server.database)
    try:
        _await(url)
    except BaseException:
        stop()
        raise
    return url, stop


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


def _await(url: URL) -> None:
    patiently = Retrying(
        retry=retry_if_exception_type(psycopg.OperationalError),
        stop=stop_after_delay(10),
        wait=wait_fixed(0.05),
        reraise=True,
    )
    patiently(psycopg.connect, url.render_as_string(), connect_timeout=5).close()
