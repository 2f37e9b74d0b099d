"""How many searches run at once."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from anyio import Semaphore, fail_after
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskdb_cli.api.middleware import refuse
from taskdb_cli.database import Database
from taskdb_cli.database.options import Pool
from taskdb_cli.errors import TimedOut


class Searches:
    """Let searches use half of the threads, because each of them may read every row.

    The other threads serve everything else meanwhile. A search waits for its turn as long as a statement
    may take, and is then answered with 503.
    """

    def __init__(self, app: ASGIApp, database: Database) -> None:
        pool = database.options.pool or Pool()
        self.app = app
        self.turns = Semaphore(max(1, (pool.size + pool.overflow) // 2))
        self.patience = min(pool.timeout, database.options.statement_timeout or pool.timeout)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a search on when it is its turn, and everything else at once."""
        if scope["type"] != "http" or b"search=" not in unquote_to_bytes(scope["query_string"]):
            await self.app(scope, receive, send)
            return
        try:
            with fail_after(self.patience):
                await self.turns.acquire()
        except TimeoutError:
            busy = TimedOut(f"other searches kept the server busy for {self.patience:g} s")
            await refuse(busy, scope, receive, send)
            return
        held = True

        async def releasing(message: Message) -> None:
            # The search has ended when its answer begins, even if the client reads it slowly.
            nonlocal held
            if held:
                held = False
                self.turns.release()
            await send(message)

        try:
            await self.app(scope, receive, releasing)
        finally:
            if held:
                self.turns.release()
