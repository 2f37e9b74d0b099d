"""The schema on PostgreSQL: how the models' rules are written, and how tables are described."""

import re
from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from taskdb_cli.database.schema import collect_facts, write_rules
from taskdb_cli.database.search_index import LowerWithoutIndex
from taskdb_cli.models.types import IsTimestamp, IsUuid, NoUppercase, OneLine, PlainText

# One statement instead of SQLAlchemy's reflection, which sends a dozen and has to compile each of them.
# Names in the search path are written without their schema.
# NOT VALID is left out: the rule itself is right, only the old rows were not checked.
FACTS = """
WITH ours AS (
    SELECT oid, relname, relkind, relpersistence, relrowsecurity, relforcerowsecurity, relispartition
    FROM pg_class
    WHERE oid = ANY (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)
)
SELECT 'table ' || relname, concat_ws(
    ' ',
    CASE relpersistence WHEN 'u' THEN 'UNLOGGED' WHEN 't' THEN 'temporary' END,
    CASE relkind
        WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'f' THEN 'foreign table'
        WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'relation of kind ' || relkind::text
    END,
    CASE WHEN relispartition THEN 'that is a partition' END,
    CASE WHEN EXISTS (SELECT FROM pg_inherits WHERE inhrelid = ours.oid) THEN 'that inherits' END,
    CASE WHEN EXISTS (SELECT FROM pg_inherits WHERE inhparent = ours.oid) THEN 'that others inherit' END,
    CASE WHEN relrowsecurity THEN 'with row level security' END,
    CASE WHEN relforcerowsecurity THEN 'also for its owner' END
)
FROM ours
UNION ALL
SELECT 'column ' || ours.relname || '.' || attname, concat_ws(
    ' ', format_type(atttypid, atttypmod),
    'COLLATE ' || nullif(collname, 'default'),
    CASE WHEN attnotnull THEN 'NOT NULL' END,
    CASE attgenerated WHEN '' THEN 'DEFAULT ' ELSE 'GENERATED AS ' END || pg_get_expr(adbin, adrelid),
    CASE attidentity WHEN 'a' THEN 'IDENTITY ALWAYS' WHEN 'd' THEN 'IDENTITY BY DEFAULT' END,
    CASE sequence.relpersistence WHEN 'u' THEN 'UNLOGGED' END,
    'INCREMENT ' || nullif(seqincrement, 1),
    'MINVALUE ' || nullif(seqmin, 1),
    'MAXVALUE ' || nullif(seqmax, 9223372036854775807),
    CASE WHEN seqcycle THEN 'CYCLE' END
)
FROM ours JOIN pg_attribute ON attrelid = ours.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_collation ON pg_collation.oid = attcollation
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
LEFT JOIN pg_depend ON refobjid = attrelid AND refobjsubid = attnum AND deptype = 'i'
    AND classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND attidentity <> ''
LEFT JOIN pg_sequence ON seqrelid = objid
LEFT JOIN pg_class AS sequence ON sequence.oid = seqrelid
UNION ALL
SELECT 'primary key of ' || relname, concat_ws(
    ' ',
    '[' || coalesce(string_agg(quote_literal(attname), ', ' ORDER BY attnum), '') || ']',
    CASE WHEN NOT bool_and(indimmediate) THEN 'DEFERRABLE' END
)
FROM ours LEFT JOIN pg_index ON indrelid = ours.oid AND indisprimary
LEFT JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
GROUP BY relname
UNION ALL
SELECT 'constraint ' || conname, concat_ws(
    ' ', regexp_replace(pg_get_constraintdef(pg_constraint.oid), ' NOT VALID$', ''), 'ON ' || relname,
    CASE WHEN EXISTS (
        SELECT FROM pg_trigger WHERE tgconstraint = pg_constraint.oid AND tgenabled NOT IN ('O', 'A')
    ) THEN 'with disabled triggers' END
)
FROM ours JOIN pg_constraint ON conrelid = ours.oid AND contype IN ('c', 'f', 'u', 'x')
UNION ALL
SELECT 'index ' || pg_class.relname, pg_get_indexdef(indexrelid, 0, true)
FROM ours JOIN pg_index ON indrelid = ours.oid AND NOT indisprimary
JOIN pg_class ON pg_class.oid = indexrelid
UNION ALL
SELECT 'trigger ' || relname || '.' || tgname, pg_get_triggerdef(pg_trigger.oid)
FROM ours JOIN pg_trigger ON tgrelid = ours.oid AND NOT tgisinternal AND tgenabled <> 'D'
UNION ALL
SELECT 'rule ' || relname || '.' || rulename, pg_get_ruledef(pg_rewrite.oid)
FROM ours JOIN pg_rewrite ON ev_class = ours.oid AND ev_enabled <> 'D' AND rulename <> '_RETURN'
ORDER BY 1, 2
"""

SEARCH_INDEXES = {
    f"tasks_{column}_search": rf"CREATE INDEX tasks_{column}_search ON tasks"
    rf" USING gin \(lower\({column}\) (\S+\.)?gin_trgm_ops\)"
    for column in ("title", "description")
}
"""Patterns of the definitions of the indexes that search makes. The extension may be in any schema."""


def facts(connection: Connection, tables: Collection[str]) -> dict[str, str]:
    """Describe the tables that the search path finds; the indexes of search only if they are not as made."""
    found = collect_facts(
        (name, description) for name, description in connection.exec_driver_sql(FACTS, (list(tables),))
    )
    for name, pattern in SEARCH_INDEXES.items():
        if re.fullmatch(pattern, found.get(f"index {name}", "")):
            del found[f"index {name}"]
    return found


write_rules(
    "postgresql",
    {
        NoUppercase: "{0} !~ '[A-Z]'",
        OneLine: r"{0} !~ '[\u0001-\u001f\u007f-\u009f]'",
        PlainText: r"{0} !~ '[\u0001-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]'",
        IsTimestamp: "{0} >= '0001-01-01 00:00:00+00' AND {0} < '10000-01-01 00:00:00+00'",
        IsUuid: "{0} ~ '^[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$'",
    },
)


@compiles(LowerWithoutIndex, "postgresql")
def _write_lower(element: LowerWithoutIndex, compiler: SQLCompiler, **options: Any) -> str:
    # POSIX is another name of the collation C, which the columns have. So the planner finds neither the index
    # nor its statistics, from which it would conclude that such a text is rarer than it is.
    return f'lower({compiler.process(element.clauses, **options)} COLLATE "POSIX")'
