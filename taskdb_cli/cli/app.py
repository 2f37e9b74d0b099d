"""The command `taskdb`: its global options, and the commands under it.

No module of the command line imports SQLModel, SQLAlchemy, Alembic or psycopg at its top, because help,
completion and usage errors must not wait for them.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from taskdb_cli import __version__
from taskdb_cli.cli import (
    backup,
    config,
    health,
    history,
    migrate,
    restore,
    search,
    serve,
    stats,
    task,
    token,
    undo,
    user,
)
from taskdb_cli.cli.commands import Commands, HelpfulGroup
from taskdb_cli.cli.completion import complete_profiles
from taskdb_cli.cli.context import invocation

app = Commands(
    name="taskdb",
    cls=HelpfulGroup,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    pretty_exceptions_enable=False,
)
app.add_typer(user.app, name="user")
app.add_typer(task.app, name="task")
app.add_typer(history.app, name="history")
app.add_typer(migrate.app, name="migrate")
app.add_typer(search.app, name="search")
app.add_typer(backup.app, name="backup")
app.command(
    epilog=("taskdb restore latest --replace\ntaskdb restore latest --only-user ann@example.com --dry-run")
)(restore.restore)
app.command(
    epilog=(
        "taskdb copy --to postgresql://ann@db.example.com/taskdb\n"
        "taskdb --database-url sqlite:///old.sqlite3 copy --to sqlite:///new.sqlite3 --dry-run"
    )
)(restore.copy)
app.command(epilog="taskdb undo --dry-run\ntaskdb undo 12 --skip-changed")(undo.undo)
app.add_typer(token.app, name="token")
app.command(epilog="taskdb stats\ntaskdb stats --user ann@example.com")(stats.stats)
app.command(epilog=("taskdb health\ntaskdb health --only connections -o nagios --timeout 10"))(health.health)
app.command(epilog="taskdb config\ntaskdb --profile prod config --check")(config.config)
app.command(epilog="taskdb serve\ntaskdb serve --port 8080")(serve.serve)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"taskdb {__version__}")
        raise typer.Exit


@app.command(hidden=True)
def version() -> None:
    """Show the version."""
    _show_version(wanted=True)


@app.callback(
    epilog=(
        "taskdb user create --email you@example.com --name You\n"
        "taskdb task create Buy milk --due tomorrow\n"
        "taskdb task list --status open --sort due"
    )
)
def main(
    ctx: typer.Context,
    *,
    database_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="postgresql://… or sqlite:///PATH. [env: TASKDB_DATABASE_URL]"),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Use this profile; 'taskdb config' names the file of profiles. [env: TASKDB_PROFILE]",
            autocompletion=complete_profiles,
        ),
    ] = None,
    env_file: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Read settings from this file, not from the nearest .env. [env: TASKDB_ENV_FILE]",
        ),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The PostgreSQL schema of the tables. [env: TASKDB_SCHEMA]"),
    ] = None,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Log to stderr: -v events, -vv SQL too.")
    ] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors on stderr.")] = False,
    no_input: Annotated[
        bool, typer.Option("--no-input", help="Never ask; a missing value is an error.")
    ] = False,
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error. [env: TASKDB_DEBUG]")] = False,
    log_file: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Log events to this file too. [env: TASKDB_LOG_FILE]")
    ] = None,
    log_format: Annotated[
        Literal["text", "json"] | None,
        typer.Option(
            help="The format of the log. [env: TASKDB_LOG_FORMAT]",
            show_default=False,
            case_sensitive=False,
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Administer users and their tasks, in SQLite or PostgreSQL."""
    if ctx.invoked_subcommand not in ("backup", "restore", "copy", "migrate", "search"):
        # These do their work without printing. The others fail at once if stdout is closed.
        sys.stdout.write("")
    invocation(ctx).take_options(ctx.params)
