"""--replica: read the replica of the database, and say so if it is behind."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from taskdb_cli.errors import DatabaseUnavailable, TaskdbError
from taskdb_cli.text.amounts import in_one_unit

if TYPE_CHECKING:
    from taskdb_cli.cli.context import Invocation
    from taskdb_cli.database import Database

PATIENCE = 5
"""Seconds that the primary is waited for at most. It is only compared with."""


def open_replica(run: Invocation) -> Database:
    """Return the replica; say on stderr if it is behind, or could not be compared with the primary.

    Raises InvalidConfiguration, SchemaError or DatabaseUnavailable if it is not reached or is no replica.
    """
    from taskdb_cli.database.replica import compare, look, look_at_replica

    settings, lag, alone = run.settings, 0.0, None
    options = settings.options
    # The connection that is compared is the one that is read, even if the address has several servers.
    replica = replace(settings, options=replace(options, keep=True)).replica_database()
    run.opened.callback(replica.engine.dispose)
    limits = min(options.connect_timeout, PATIENCE), min(options.statement_timeout or PATIENCE, PATIENCE)
    hasty = replace(options, connect_timeout=limits[0], statement_timeout=limits[1], retry_budget=0)
    try:
        primary = look(replace(settings, options=hasty).database())
    except DatabaseUnavailable as exc:
        alone = exc
    try:
        standing = look_at_replica(replica)
        if alone is None:
            lag = compare(primary, standing)
    except TaskdbError as exc:
        instead = (
            "leave --replica out to read the primary"
            if alone is None
            else "the primary does not answer either"
        )
        exc.hint = "; ".join(filter(None, [exc.hint, instead]))
        raise
    if alone is not None:
        run.say(f"warning: the replica was not compared with the primary: {alone.message}")
    elif lag == math.inf:
        run.say("the replica is behind; it is not known how far")
    elif lag > settings.read_lag:
        run.say(f"as of {in_one_unit(lag)} ago: the replica is behind")
    return replica
