"""How PostgreSQL writes the column types and constraint expressions of the models."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from taskdb_cli.models.types import IsTimestamp, IsUuid, NoUppercase, OneLine, PlainText


@compiles(NoUppercase, "postgresql")
def _no_uppercase(element: NoUppercase, compiler: SQLCompiler, **options: Any) -> str:
    return f"{compiler.process(element.clauses)} !~ '[A-Z]'"


@compiles(OneLine, "postgresql")
def _one_line(element: OneLine, compiler: SQLCompiler, **options: Any) -> str:
    return rf"{compiler.process(element.clauses)} !~ '[\u0001-\u001f\u007f-\u009f]'"


@compiles(PlainText, "postgresql")
def _plain_text(element: PlainText, compiler: SQLCompiler, **options: Any) -> str:
    return rf"{compiler.process(element.clauses)} !~ '[\u0001-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]'"


@compiles(IsTimestamp, "postgresql")
def _is_timestamp(element: IsTimestamp, compiler: SQLCompiler, **options: Any) -> str:
    field = compiler.process(element.clauses)
    return f"{field} >= '0001-01-01 00:00:00+00' AND {field} < '10000-01-01 00:00:00+00'"


@compiles(IsUuid, "postgresql")
def _is_uuid(element: IsUuid, compiler: SQLCompiler, **options: Any) -> str:
    return f"{compiler.process(element.clauses)} ~ '^[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$'"
