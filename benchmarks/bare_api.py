"""A bare FastAPI application for benchmarks/api.py: one page of tasks by raw psycopg, in the same JSON.

Each request sends BEGIN, the query of the page and COMMIT. It looks up no token, unless BARE_SAME_SQL says to
send all that taskdb sends: the same kind of transaction, and the look-up of the request's token in it.
"""

from __future__ import annotations

import os
import queue
from hashlib import sha256
from typing import Any

import psycopg
from fastapi import FastAPI, HTTPException, Request, Response
from pydantic_core import to_json

PRIORITIES = {1: "low", 2: "medium", 3: "high", 4: "urgent"}
FIELDS = (
    "id", "user_id", "user", "external_id", "title", "description", "status", "priority",
    "due_at", "completed_at", "version", "created_at", "updated_at",
)  # fmt: skip
PAGE = """
SELECT tasks.id, tasks.user_id, users.email AS "user", tasks.external_id, tasks.title, tasks.description,
    tasks.status, tasks.priority, tasks.due_at, tasks.completed_at, tasks.version, tasks.created_at,
    tasks.updated_at
FROM tasks JOIN users ON tasks.user_id = users.id
WHERE tasks.user_id = %s ORDER BY tasks.created_at DESC, tasks.id DESC LIMIT 51
"""
TOKEN = """
SELECT access_tokens.id, access_tokens.token_hash, access_tokens.scope, access_tokens.user_id,
       access_tokens.expires_at, access_tokens.last_used_at, users.is_active
FROM access_tokens LEFT OUTER JOIN users ON access_tokens.user_id = users.id
WHERE access_tokens.token_hash = %s
"""
SAME_SQL = os.environ.get("BARE_SAME_SQL") == "1"

app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})
_pool: queue.LifoQueue[psycopg.Connection[Any]] = queue.LifoQueue()
for _ in range(10):
    _connection = psycopg.connect(os.environ["BARE_URL"], prepare_threshold=None, options="-c TimeZone=UTC")
    if SAME_SQL:
        _connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        _connection.read_only = True
    _pool.put(_connection)


def _rows(user: int, request: Request) -> list[tuple[Any, ...]]:
    connection = _pool.get()
    try:
        with connection.transaction(), connection.cursor() as cursor:
            if SAME_SQL:
                secret = request.headers["authorization"].removeprefix("Bearer ")
                if cursor.execute(TOKEN, [sha256(secret.encode()).hexdigest()]).fetchone() is None:
                    raise HTTPException(401)
            return cursor.execute(PAGE, [user]).fetchall()
    finally:
        _pool.put(connection)


def _page(rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    items = [dict(zip(FIELDS, row, strict=True)) for row in rows[:50]]
    for item in items:
        item["priority"] = PRIORITIES[item["priority"]]
    return {"items": items, "next": None}


def _answer(rows: list[tuple[Any, ...]]) -> Response:
    return Response(to_json(_page(rows)), media_type="application/json")


@app.get("/users/{user}/tasks")
def in_a_thread(user: int, request: Request) -> Response:
    """Answer from a thread."""
    return _answer(_rows(user, request))


@app.get("/async/users/{user}/tasks")
async def in_the_loop(user: int, request: Request) -> Response:
    """Answer from the event loop, which does nothing else meanwhile."""
    return _answer(_rows(user, request))


@app.get("/plain/users/{user}/tasks")
def left_to_fastapi(user: int, request: Request) -> dict[str, Any]:
    """Answer from a thread, and let FastAPI make the JSON, as most routes are written."""
    return _page(_rows(user, request))
