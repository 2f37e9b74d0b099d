"""What the shell offers when a person presses Tab. `cli.shells` quotes it for each shell."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import typer

MOST_OFFERED = 50


def complete_words(words: Iterable[str]) -> Callable[[str], list[str]]:
    """Return a function that offers those of the words that begin as typed."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


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
