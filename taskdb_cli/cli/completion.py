"""What the shell offers when a person presses Tab. `cli.shells` quotes it for each shell."""

from __future__ import annotations

from dataclasses import replace

import typer

from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus

MOST_OFFERED = 50


def complete_priorities(incomplete: str) -> list[str]:
    """Offer the priorities that begin as typed."""
    return [priority.word for priority in TaskPriority if priority.word.startswith(incomplete)]


def complete_statuses(incomplete: str) -> list[str]:
    """Offer the statuses and the words for groups of them that begin as typed."""
    return [word for word in (*TaskStatus, "open", "closed") if word.startswith(incomplete)]


def complete_users(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the e-mail addresses that begin as typed. Raise TaskdbError if there is no database."""
    from taskdb_cli.config import load_settings
    from taskdb_cli.services import user as service

    given = ctx.find_root().params
    settings = load_settings(**{name: given.get(name) for name in ("database_url", "env_file", "schema")})
    # A person is waiting, so give up early.
    hasty = replace(settings.options, connect_timeout=2, statement_timeout=2, lock_timeout=1, retry_budget=0)
    database = replace(settings, options=hasty).database()
    found = database.read(lambda session: service.find_by_prefix(session, incomplete, limit=MOST_OFFERED))
    return [user.email for user in found]
