"""taskdb serve: run the HTTP API."""

from typing import Annotated

import typer

from taskdb_cli.cli.context import invocation
from taskdb_cli.errors import ExtraMissing


def serve(
    ctx: typer.Context,
    *,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes a free one.")
    ] = 8000,
) -> None:
    """Serve the HTTP API until SIGTERM or Ctrl-C."""
    try:
        from taskdb_cli.api.server import serve as run_server
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.startswith("taskdb_cli"):
            raise
        raise ExtraMissing("the HTTP API is not installed", "api") from exc

    run = invocation(ctx)
    settings = run.settings
    run_server(
        settings.database(long_lived=True),
        host,
        port,
        patience=settings.client_timeout,
        say=run.say,
        replica=settings.replica_database(long_lived=True) if settings.read_url else None,
        most_lag=settings.read_lag,
    )
