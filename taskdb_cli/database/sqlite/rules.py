"""How SQLite writes the column types and constraint expressions of the models."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler, TypeCompiler
from sqlalchemy.types import TypeEngine

from taskdb_cli.models.types import (
    BigNumber,
    Flag,
    IsTimestamp,
    IsUuid,
    NoUppercase,
    OneLine,
    PlainText,
    SmallNumber,
)


@compiles(BigNumber, "sqlite")
@compiles(SmallNumber, "sqlite")
@compiles(Flag, "sqlite")
def _integer(type_: TypeEngine[Any], compiler: TypeCompiler, **options: Any) -> str:
    # A STRICT table knows one integer type.
    return "INTEGER"


@compiles(NoUppercase, "sqlite")
def _no_uppercase(element: NoUppercase, compiler: SQLCompiler, **options: Any) -> str:
    return f"{compiler.process(element.clauses)} NOT GLOB '*[A-Z]*'"


@compiles(OneLine, "sqlite")
def _one_line(element: OneLine, compiler: SQLCompiler, **options: Any) -> str:
    return _without(compiler.process(element.clauses), "char(1) || '-' || char(31, 127) || '-' || char(159)")


@compiles(PlainText, "sqlite")
def _plain_text(element: PlainText, compiler: SQLCompiler, **options: Any) -> str:
    allowed = "char(1) || '-' || char(8, 11, 12, 14) || '-' || char(31, 127) || '-' || char(159)"
    return _without(compiler.process(element.clauses), allowed)


def _without(field: str, characters: str) -> str:
    # GLOB and length() stop at NUL, so that it is looked for by itself.
    return f"instr({field}, char(0)) = 0 AND {field} NOT GLOB '*[' || {characters} || ']*'"


@compiles(IsTimestamp, "sqlite")
def _is_timestamp(element: IsTimestamp, compiler: SQLCompiler, **options: Any) -> str:
    # A modifier makes every strftime turn 2026-02-30 into March 2nd, so that a date which is not real
    # differs from itself. The form comes first: strftime must not see 'now', which it raises on.
    field = compiler.process(element.clauses)
    second = f"substr({field}, 1, 19)"
    return (
        f"substr({field}, 20) GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]Z' AND instr({field}, char(0)) = 0"
        f" AND {second} IS strftime('%Y-%m-%dT%H:%M:%S', {second}, '+0 days')"
        f" AND {field} >= '0001'"
    )


@compiles(IsUuid, "sqlite")
def _is_uuid(element: IsUuid, compiler: SQLCompiler, **options: Any) -> str:
    field = compiler.process(element.clauses)
    groups = ("[0-9a-f]" * digits for digits in (8, 4, 4, 4, 12))
    return f"{field} GLOB '{'-'.join(groups)}' AND instr({field}, char(0)) = 0"
