"""How the server finds the rows of a query."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Select

from taskdb_cli.database.backend import Plan, literal_sql
from taskdb_cli.database.postgresql.schema import SEARCH_INDEXES


def explain(connection: Connection, query: Select[Any]) -> Plan:
    """Run the query under EXPLAIN ANALYZE, and return its plan."""
    sql = literal_sql(connection, query)
    measured = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}").scalar_one()
    lines = tuple(connection.exec_driver_sql(f"EXPLAIN {sql}").scalars())
    steps = list(_steps(measured[0]["Plan"]))
    sorts = [step["Plans"][0] for step in steps if step["Node Type"] in ("Sort", "Incremental Sort")]
    rows = round(sum(sorted["Actual Rows"] * sorted["Actual Loops"] for sorted in sorts))
    reached = tuple(_reached(step) for step in steps if "Relation Name" in step or "Index Name" in step)
    return Plan(sql.replace("%%", "%"), lines, reached, rows if sorts else None)


def _steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every step of a plan in JSON, each before those that feed it."""
    yield plan
    for child in plan.get("Plans", []):
        yield from _steps(child)


def _reached(step: dict[str, Any]) -> str:
    if index := step.get("Index Name"):
        kind = "search index" if index in SEARCH_INDEXES else "index"
        return f"{step.get('Relation Name', 'bitmap')}: {kind} {index}"
    found = "rows of the bitmap" if step["Node Type"] == "Bitmap Heap Scan" else "every row"
    return f"{step['Relation Name']}: {found}"
