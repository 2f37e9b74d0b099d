"""What the tables of a PostgreSQL database are, in words that can be compared."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection

# One statement instead of SQLAlchemy's reflection, which sends a dozen and has to compile each of them. What
# is in the search path is written without its schema, so that a scratch schema reads like the live one.
# NOT VALID is another matter: the rule is as it should be, but was not held against old rows.
_FACTS = """
WITH ours AS (
    SELECT oid, relname FROM pg_class
    WHERE oid = ANY (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name) AND relkind IN ('r', 'p')
)
SELECT 'table ' || relname, 'there' FROM ours
UNION ALL
SELECT 'column ' || relname || '.' || attname, concat_ws(
    ' ', format_type(atttypid, atttypmod),
    'COLLATE ' || nullif(collname, 'default'),
    CASE WHEN attnotnull THEN 'NOT NULL' END,
    'DEFAULT ' || pg_get_expr(adbin, adrelid),
    CASE attidentity WHEN 'a' THEN 'IDENTITY ALWAYS' WHEN 'd' THEN 'IDENTITY BY DEFAULT' END
)
FROM ours JOIN pg_attribute ON attrelid = ours.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_collation ON pg_collation.oid = attcollation
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
UNION ALL
SELECT 'primary key of ' || relname,
       '[' || coalesce(string_agg(quote_literal(attname), ', ' ORDER BY attnum), '') || ']'
FROM ours LEFT JOIN pg_index ON indrelid = ours.oid AND indisprimary
LEFT JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
GROUP BY relname
UNION ALL
SELECT 'constraint ' || conname, regexp_replace(pg_get_constraintdef(pg_constraint.oid), ' NOT VALID$', '')
FROM ours JOIN pg_constraint ON conrelid = ours.oid AND contype IN ('c', 'f', 'u', 'x')
UNION ALL
SELECT 'index ' || pg_class.relname, pg_get_indexdef(indexrelid, 0, true)
FROM ours JOIN pg_index ON indrelid = ours.oid AND NOT indisprimary
JOIN pg_class ON pg_class.oid = indexrelid
"""


def facts(connection: Connection, tables: Collection[str]) -> dict[str, str]:
    """Name each thing that those of the tables have which the search path finds, and describe it."""
    found = connection.exec_driver_sql(_FACTS, (list(tables),))
    return {row[0]: row[1] for row in found}
