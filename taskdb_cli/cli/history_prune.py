"""taskdb history prune: forget old operations, as every nightly backup does too."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from taskdb_cli.cli import options
from taskdb_cli.cli.answers import answer
from taskdb_cli.cli.context import Invocation, invocation
from taskdb_cli.cli.output import FormatOption, show_json
from taskdb_cli.errors import InvalidConfiguration, InvalidInput, NotPermitted, NotWritable, SchemaBehind
from taskdb_cli.output.formats import Format
from taskdb_cli.times import parse_keeping

if TYPE_CHECKING:
    from datetime import datetime


def prune(
    ctx: typer.Context,
    *,
    keep: Annotated[
        str | None,
        options.optional(
            "How long operations are kept: 90d, 12w, 1y or forever; by default TASKDB_HISTORY_KEEP.",
            metavar="AGE",
        ),
    ] = None,
    yes: options.Yes = False,
    confirm: options.Confirm = None,
    dry_run: options.DryRun = False,
    output: FormatOption = None,
) -> None:
    """Delete old operations from the history. They cannot be undone afterwards."""
    from taskdb_cli.services.history import pruning

    run = invocation(ctx)
    before = history_begin(run) if keep is None else parse_keeping(keep, now=run.now)
    pruned = pruning.Pruned()
    if before is not None:
        counting = partial(pruning.count_older, before=before)
        if dry_run or not run.agreed(yes=yes):
            pruned = run.database.read(counting, bulk=True)
        if not dry_run:
            if pruned.operations:
                run.confirm(f"delete {pruned.describe()} from the history for good", yes=yes)
            pruned = pruning.prune(run.database, before=before)
    if pruned.operations:
        answer(run, f"{'would delete' if dry_run else 'deleted'} {pruned.describe()} from the history")
    else:
        kept = keep or run.settings.history_keep
        answer(run, "nothing is deleted" + (f": the history has nothing older than {kept}" if before else ""))
    if not dry_run:
        run.did(f"deleted {pruned.describe()} from the history", look="taskdb history")
    if output is Format.JSON:
        show_json(pruned.report(dry_run=dry_run))


def history_begin(run: Invocation) -> datetime | None:
    """Return since when TASKDB_HISTORY_KEEP keeps operations; None means all of them.

    Raises InvalidConfiguration.
    """
    try:
        return parse_keeping(run.settings.history_keep, now=run.now)
    except InvalidInput as exc:
        raise InvalidConfiguration(f"TASKDB_HISTORY_KEEP: {exc.message}", exc.hint) from None


def prune_after_backup(run: Invocation, before: datetime | None) -> None:
    """Delete older operations from the database that was backed up.

    A database that can only be read keeps them, and one of an older revision has none.
    """
    from taskdb_cli.services.history.pruning import prune

    if before is None:
        return
    try:
        pruned = prune(run.maintained, before=before)
    except SchemaBehind:
        return
    except (NotWritable, NotPermitted) as exc:
        run.say(f"warning: the history was not pruned: {exc.message}; TASKDB_HISTORY_KEEP=forever keeps it")
        return
    # Cron sends a mail with everything that a job prints.
    if pruned.operations and sys.stderr.isatty():
        older = f"older than {run.settings.history_keep}"
        run.say(f"deleted {pruned.describe()}, {older}, from the history")
