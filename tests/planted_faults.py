"""Faults that a database can have, each with what makes it and what `taskdb health` says of it."""

from __future__ import annotations

from dataclasses import dataclass

from taskdb_cli.health.report import EXIT_CODES, Status

POSTGRESQL, SQLITE = "PostgreSQL", "SQLite"
WARNING, CRITICAL, UNKNOWN = Status.WARNING, Status.CRITICAL, Status.UNKNOWN


@dataclass(frozen=True)
class Fault:
    """A fault, in the order of what is done to a database with one user and one task."""

    name: str
    engine: str
    statements: tuple[str, ...]
    """{database} and {role} stand for their names."""
    verdict: dict[str, Status]
    """The checks that are neither ok nor skipped."""
    as_role: bool = False
    """Whether health runs as {role}, which has no rights but those that it is given, and not as the owner."""
    skipped: tuple[str, ...] = ()
    """The checks that are skipped because of it."""
    since: int = 0
    """The first major version that knows such a thing."""
    rebuilt: tuple[str, str, str] | None = None
    """On SQLite: a table that is made anew, and what is replaced by what in its definition."""

    @property
    def exit_code(self) -> int:
        """What the command exits with."""
        return EXIT_CODES[next(status for status in EXIT_CODES if status in self.verdict.values())]


READABLE = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
REPLICA_TRIGGERS = """
DO $$ DECLARE trigger name; BEGIN
    FOR trigger IN SELECT tgname FROM pg_trigger WHERE tgrelid = 'tasks'::regclass LOOP
        EXECUTE format('ALTER TABLE tasks ENABLE REPLICA TRIGGER %I', trigger);
    END LOOP;
END $$
"""
STAMP_FUNCTION = """
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.title := upper(NEW.title); RETURN NEW; END $$
"""
BY_ROWS = ("orphans", "identity", "identity_left", "rules", "plans", "history")


def _on_postgresql(name: str, *statements: str, verdict: dict[str, Status], **options: object) -> Fault:
    return Fault(name, POSTGRESQL, statements, verdict, **options)  # type: ignore[arg-type]


def _on_sqlite(name: str, *statements: str, verdict: dict[str, Status], **options: object) -> Fault:
    return Fault(name, SQLITE, statements, verdict, **options)  # type: ignore[arg-type]


FAULTS = (
    _on_postgresql(
        "triggers of a table disabled",
        "ALTER TABLE tasks DISABLE TRIGGER ALL",
        verdict={"constraints": CRITICAL},
    ),
    _on_postgresql(
        "triggers of the table that others refer to disabled",
        "ALTER TABLE users DISABLE TRIGGER ALL",
        verdict={"constraints": CRITICAL},
    ),
    _on_postgresql(
        "triggers that fire on a replica only", REPLICA_TRIGGERS, verdict={"constraints": CRITICAL}
    ),
    _on_postgresql(
        "session_replication_role = replica, set for the database",
        'ALTER DATABASE "{database}" SET session_replication_role = replica',
        verdict={"constraints": CRITICAL},
    ),
    _on_postgresql(
        "session_replication_role = replica, set for another role",
        "ALTER ROLE {role} SET session_replication_role = replica",
        verdict={"constraints": CRITICAL},
    ),
    _on_postgresql(
        "a foreign key NOT ENFORCED",
        "ALTER TABLE tasks ALTER CONSTRAINT tasks_user_id_fkey NOT ENFORCED",
        verdict={"constraints": CRITICAL},
        since=18,
    ),
    _on_postgresql(
        "a foreign key that is checked late",
        "ALTER TABLE tasks ALTER CONSTRAINT tasks_user_id_fkey DEFERRABLE INITIALLY DEFERRED",
        verdict={"constraints": CRITICAL},
    ),
    _on_postgresql(
        "a foreign key NOT VALID",
        "ALTER TABLE tasks DROP CONSTRAINT tasks_user_id_fkey",
        "ALTER TABLE tasks ADD CONSTRAINT tasks_user_id_fkey"
        " FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE NOT VALID",
        verdict={"constraints": WARNING},
    ),
    _on_postgresql(
        "a constraint of the right name that demands something else",
        "ALTER TABLE tasks DROP CONSTRAINT tasks_priority_known",
        "ALTER TABLE tasks ADD CONSTRAINT tasks_priority_known CHECK (priority > 0)",
        verdict={"constraints": CRITICAL},
    ),
    _on_postgresql(
        "a constraint of the right name on another table too",
        "ALTER TABLE users ADD CONSTRAINT tasks_priority_known CHECK (version > 0)",
        verdict={"constraints": CRITICAL},
    ),
    _on_postgresql(
        "a unique constraint dropped, and a value twice",
        "ALTER TABLE users DROP CONSTRAINT users_email_key",
        "INSERT INTO users (email, name, is_active, version, created_at, updated_at)"
        " SELECT email, name, is_active, version, created_at, updated_at FROM users",
        verdict={"constraints": CRITICAL, "rules": CRITICAL},
    ),
    _on_postgresql(
        "the primary key dropped, and an id twice",
        "ALTER TABLE tasks DROP CONSTRAINT tasks_pkey",
        "INSERT INTO tasks OVERRIDING SYSTEM VALUE SELECT * FROM tasks",
        verdict={"constraints": CRITICAL, "rules": CRITICAL},
    ),
    _on_postgresql(
        "a NOT NULL dropped, and a value missing",
        "ALTER TABLE tasks ALTER title DROP NOT NULL",
        "UPDATE tasks SET title = NULL",
        verdict={"drift": WARNING, "rules": CRITICAL},
    ),
    _on_postgresql(
        "a NOT NULL that is NOT VALID, and a value missing",
        "ALTER TABLE tasks ALTER title DROP NOT NULL",
        "UPDATE tasks SET title = NULL",
        "ALTER TABLE tasks ADD CONSTRAINT tasks_title_given NOT NULL title NOT VALID",
        verdict={"constraints": WARNING, "rules": CRITICAL},
        since=18,
    ),
    _on_postgresql(
        "an UNLOGGED table, which a crash empties",
        "ALTER TABLE tasks SET UNLOGGED",
        verdict={"drift": CRITICAL},
    ),
    _on_postgresql(
        "a view in place of a table",
        "ALTER TABLE access_tokens RENAME TO kept",
        "CREATE VIEW access_tokens AS SELECT * FROM kept",
        verdict={"drift": CRITICAL, "constraints": CRITICAL, "identity": CRITICAL},
        skipped=("identity_left",),
    ),
    _on_postgresql(
        "a foreign table in place of a table",
        "ALTER TABLE access_tokens RENAME TO kept",
        "CREATE FOREIGN DATA WRAPPER far",
        "CREATE SERVER far FOREIGN DATA WRAPPER far",
        "CREATE FOREIGN TABLE access_tokens (id bigint NOT NULL, name text, token_hash text, scope text,"
        " user_id bigint, created_at timestamptz, expires_at timestamptz, last_used_at timestamptz)"
        " SERVER far",
        verdict=dict.fromkeys(("drift", "constraints"), CRITICAL)
        | dict.fromkeys(("orphans", "identity", "identity_left", "rules"), UNKNOWN),
    ),
    _on_postgresql(
        "a partitioned table in place of a table",
        "DROP TABLE access_tokens",
        "CREATE TABLE access_tokens (id bigint NOT NULL, name text, token_hash text, scope text,"
        " user_id bigint, created_at timestamptz, expires_at timestamptz, last_used_at timestamptz)"
        " PARTITION BY LIST (scope)",
        verdict={"drift": CRITICAL, "constraints": CRITICAL, "identity": CRITICAL},
        skipped=("identity_left",),
    ),
    _on_postgresql(
        "a table that another one inherits",
        "CREATE TABLE old_tasks () INHERITS (tasks)",
        verdict={"drift": CRITICAL},
    ),
    _on_postgresql(
        "row level security, which does not apply to the owner",
        "ALTER TABLE tasks ENABLE ROW LEVEL SECURITY",
        verdict={"drift": CRITICAL},
    ),
    _on_postgresql(
        "row level security, and a role that it applies to",
        READABLE,
        "GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}",
        "ALTER TABLE tasks ENABLE ROW LEVEL SECURITY",
        verdict={"drift": CRITICAL, "access": CRITICAL},
        as_role=True,
        skipped=BY_ROWS,
    ),
    _on_postgresql(
        "row level security, and a role that it applies to with an error",
        READABLE,
        "ALTER TABLE tasks ENABLE ROW LEVEL SECURITY",
        "ALTER ROLE {role} SET row_security = off",
        verdict={"drift": CRITICAL, "access": CRITICAL},
        as_role=True,
        skipped=BY_ROWS,
    ),
    _on_postgresql(
        "a role that may not read one of the tables",
        READABLE,
        "REVOKE SELECT ON access_tokens FROM {role}",
        verdict={"access": CRITICAL, "orphans": UNKNOWN},
        as_role=True,
        skipped=("identity", "identity_left"),
    ),
    _on_postgresql(
        "a role that may change one of the tables only",
        READABLE,
        "GRANT ALL ON users TO {role}",
        verdict={"access": WARNING},
        as_role=True,
    ),
    _on_postgresql(
        "a trigger that rewrites rows",
        STAMP_FUNCTION,
        "CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION stamp()",
        verdict={"drift": WARNING},
    ),
    _on_postgresql(
        "a rule that does something instead",
        "CREATE RULE kept AS ON DELETE TO tasks DO INSTEAD NOTHING",
        verdict={"drift": WARNING},
    ),
    _on_postgresql(
        "a sequence at its own end",
        "ALTER TABLE tasks ALTER id SET MAXVALUE 5",
        "SELECT setval('tasks_id_seq', 5)",
        verdict={"drift": WARNING, "identity": CRITICAL, "identity_left": CRITICAL},
    ),
    _on_postgresql(
        "a sequence at the end of its type",
        f"SELECT setval('tasks_id_seq', {2**63 - 1})",
        verdict={"identity": CRITICAL, "identity_left": CRITICAL},
    ),
    _on_postgresql(
        "a sequence that begins anew at its end",
        "ALTER TABLE tasks ALTER id SET CYCLE",
        verdict={"drift": WARNING},
    ),
    _on_postgresql(
        "a sequence that leaves ids out",
        "ALTER TABLE tasks ALTER id SET INCREMENT 1000",
        verdict={"drift": WARNING},
    ),
    _on_postgresql(
        "ids from a sequence that is not the column's",
        "ALTER TABLE tasks ALTER id DROP IDENTITY",
        "CREATE SEQUENCE others",
        "ALTER TABLE tasks ALTER id SET DEFAULT nextval('others')",
        verdict={"drift": WARNING, "identity": CRITICAL},
        skipped=("identity_left",),
    ),
    _on_postgresql(
        "an index of the right name on other columns",
        "DROP INDEX tasks_user_due",
        "CREATE INDEX tasks_user_due ON tasks (user_id)",
        verdict={"indexes": WARNING},
    ),
    _on_postgresql(
        "an index of the right name over some rows only",
        "DROP INDEX tasks_created",
        "CREATE INDEX tasks_created ON tasks (created_at, id) WHERE priority > 1",
        verdict={"indexes": WARNING},
    ),
    _on_postgresql(
        "a column of another type",
        "ALTER TABLE tasks ALTER version TYPE bigint",
        verdict={"drift": WARNING},
    ),
    _on_postgresql(
        "a column with another collation",
        'ALTER TABLE users ALTER email TYPE text COLLATE "POSIX"',
        verdict={"drift": WARNING},
    ),
    _on_postgresql(
        "a column with a default",
        "ALTER TABLE tasks ALTER priority SET DEFAULT 2",
        verdict={"drift": WARNING},
    ),
    _on_postgresql(
        "a generated column added",
        "ALTER TABLE tasks ADD loud text GENERATED ALWAYS AS (upper(title)) STORED",
        verdict={"drift": WARNING},
    ),
    _on_sqlite(
        "a foreign key that is not declared",
        rebuilt=(
            "access_tokens",
            r",\s*CONSTRAINT access_tokens_user_id_fkey FOREIGN KEY\(user_id\) REFERENCES users .* CASCADE",
            "",
        ),
        verdict={"constraints": CRITICAL},
    ),
    _on_sqlite(
        "a unique constraint that replaces rows",
        rebuilt=("users", r"UNIQUE \(email\)", "UNIQUE (email) ON CONFLICT REPLACE"),
        verdict={"drift": CRITICAL},
    ),
    _on_sqlite(
        "a column with another collation",
        rebuilt=("users", "name TEXT NOT NULL", "name TEXT COLLATE NOCASE NOT NULL"),
        verdict={"drift": CRITICAL},
    ),
    _on_sqlite(
        "a unique constraint dropped, and a value twice",
        "INSERT INTO users (email, name, is_active, version, created_at, updated_at)"
        " SELECT email, name, is_active, version, created_at, updated_at FROM users",
        rebuilt=("users", r",\s*CONSTRAINT users_email_key UNIQUE \(email\)", ""),
        verdict={"constraints": CRITICAL, "rules": CRITICAL},
    ),
    _on_sqlite(
        "a table that takes values of any type",
        rebuilt=("users", r"\sSTRICT", ""),
        verdict={"drift": CRITICAL},
    ),
    _on_sqlite(
        "a view in place of a table",
        "ALTER TABLE access_tokens RENAME TO kept",
        "CREATE VIEW access_tokens AS SELECT * FROM kept",
        verdict={"drift": CRITICAL, "constraints": CRITICAL},
    ),
    _on_sqlite(
        "a trigger that rewrites rows",
        "CREATE TRIGGER stamp AFTER INSERT ON tasks"
        " BEGIN UPDATE tasks SET title = upper(title) WHERE id = NEW.id; END",
        verdict={"drift": WARNING},
    ),
    _on_sqlite(
        "the last id given out",
        f"UPDATE sqlite_sequence SET seq = {2**63 - 1} WHERE name = 'tasks'",
        verdict={"identity": CRITICAL, "identity_left": CRITICAL},
    ),
    _on_sqlite(
        "the last id in a table, whatever the counter says",
        f"UPDATE tasks SET id = {2**63 - 1}",
        verdict={"identity": WARNING, "identity_left": CRITICAL},
    ),
    _on_sqlite(
        "an index of the right name over some rows only",
        "DROP INDEX tasks_created",
        "CREATE INDEX tasks_created ON tasks (created_at, id) WHERE priority > 1",
        verdict={"indexes": WARNING},
    ),
    _on_sqlite(
        "an index of the right name on expressions",
        "DROP INDEX tasks_created",
        "CREATE INDEX tasks_created ON tasks (date(created_at), id DESC)",
        verdict={"indexes": WARNING},
    ),
)


def table(engine: str) -> str:
    """Return the faults of an engine and what is said of them as a table of Markdown."""
    lines = ["| fault | result |", "|---|---|"]
    for fault in FAULTS:
        if fault.engine == engine:
            name = f"{fault.name} (from {fault.since} on)" if fault.since else fault.name
            verdict = ", ".join(f"`{check}` {status}" for check, status in fault.verdict.items())
            lines.append(f"| {name} | {verdict} |")
    return "\n".join(lines) + "\n"
