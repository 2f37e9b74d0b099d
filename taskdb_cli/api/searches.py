"""A limit on how many requests run at once that may read every row."""

from __future__ import annotations

from contextlib import ExitStack
from urllib.parse import unquote_to_bytes

from anyio import Semaphore, fail_after
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskdb_cli.api.middleware import refuse
from taskdb_cli.database import Database
from taskdb_cli.database.options import Pool
from taskdb_cli.errors import TimedOut

_CHEAP = {b"", b"limit", b"after"}
"""The parameters of lists whose pages an index delivers, without reading other rows."""


class Searches:
    """Let searches use less than half of the threads, and lists with filters or a sort as many.

    Each of them may read every row. The other threads serve all other requests meanwhile. A request waits for
    its turn as long as a statement may take. Then it is answered with 503.
    """

    def __init__(self, app: ASGIApp, database: Database) -> None:
        pool = database.options.pool or Pool()
        self.app = app
        share = max(1, (pool.size + pool.overflow - 1) // 2)
        self.searches, self.lists = Semaphore(share), Semaphore(share)
        self.patience = min(pool.timeout, database.options.statement_timeout or pool.timeout)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on: in its turn if it may read every row, and at once if not."""
        turns = self._turns_of(scope)
        if turns is None:
            await self.app(scope, receive, send)
            return
        try:
            with fail_after(self.patience):
                await turns.acquire()
        except TimeoutError:
            busy = TimedOut(f"other requests of the kind kept the server busy for {self.patience:g} s")
            await refuse(busy, scope, receive, send)
            return
        with ExitStack() as turn:
            turn.callback(turns.release)

            async def releasing(message: Message) -> None:
                # The work has ended when its answer begins, even if the client reads it slowly.
                turn.close()
                await send(message)

            await self.app(scope, receive, releasing)

    def _turns_of(self, scope: Scope) -> Semaphore | None:
        query = scope["query_string"] if scope["type"] == "http" else b""
        given = {unquote_to_bytes(each.partition(b"=")[0]) for each in query.split(b"&")}
        if given <= _CHEAP:
            return None
        return self.searches if b"search" in given else self.lists
