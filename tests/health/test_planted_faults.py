"""Each of the planted faults made for real, and what health says of it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskdb_cli.errors import SchemaDrift
from taskdb_cli.health.report import Status
from taskdb_cli.health.runner import run
from taskdb_cli.services import migrate
from tests.conftest import FAULT_SERVERS, NOW, SERVERS, open_database
from tests.planted_faults import FAULTS, POSTGRESQL, SQLITE, table
from tests.schemas import execute, insert_rows, rebuild

DOCS = Path(__file__).resolve().parents[2] / "docs" / "health.md"
# The checks themselves run on every server in test_checks; TASKDB_SOAK=1 plants the faults on all.
SERVERS_HERE = FAULT_SERVERS if os.environ.get("TASKDB_SOAK") == "1" else SERVERS[-1:]


def cases() -> Iterator[object]:
    """Each fault on each engine that can have it."""
    for fault in FAULTS:
        for engine in ["sqlite"] if fault.engine == SQLITE else SERVERS_HERE:
            name, marks = (engine, ()) if isinstance(engine, str) else (engine.values[0], engine.marks)
            version = name.removeprefix("postgresql")
            if not version.isdigit() or int(version) >= fault.since:
                yield pytest.param(name, fault, marks=marks, id=f"{name}-{fault.name}")


@pytest.fixture
def role(url, engine) -> Iterator[str]:
    """A role that may connect and nothing else, where there are roles."""
    name = f"{Path(url.database).stem}_role"
    if engine != "sqlite":
        execute(url, f"CREATE ROLE {name} LOGIN")
    yield name
    if engine != "sqlite":
        execute(url, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


@pytest.mark.soak
@pytest.mark.parametrize(("engine", "fault"), list(cases()), indirect=["engine"])
def test_a_planted_fault(url, role, fault):
    """These checks turn, and the others stay."""
    if fault.rebuilt:
        rebuild(url, *fault.rebuilt)
    insert_rows(url)
    for statement in fault.statements:
        execute(url, statement.replace("{database}", str(url.database)).replace("{role}", role))
    report = run(open_database(url.set(username=role) if fault.as_role else url), now=NOW)
    found = {check.name: check.status for check in report.checks if not check.is_fine}
    assert found == fault.verdict, report
    assert report.exit_code == fault.exit_code
    skipped = {check.name for check in report.checks if check.status is Status.SKIPPED}
    assert skipped.issuperset(fault.skipped)
    # What is set for a session is not of the schema, and NOT VALID is a state of the rows.
    outside = any(words in fault.name for words in ("session_replication_role", "NOT VALID"))
    if {"drift", "constraints", "indexes"} & found.keys() and not outside:
        with pytest.raises(SchemaDrift):
            migrate.check(open_database(url))


@pytest.mark.parametrize("engine", [POSTGRESQL, SQLITE])
def test_the_docs_show_the_planted_faults(engine):
    """The table in the documentation is that of the faults which are planted here."""
    assert table(engine) in DOCS.read_text(encoding="utf-8"), table(engine)


def test_the_planted_faults_are_of_both_engines():
    """Both engines have faults, and no two faults of one engine have one name."""
    names = [(fault.engine, fault.name) for fault in FAULTS]
    assert len(set(names)) == len(names)
    assert {engine for engine, _ in names} == {POSTGRESQL, SQLITE}
