"""The checks that both engines have."""

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from operator import itemgetter

from sqlalchemy import CheckConstraint, UniqueConstraint, and_, func, not_, select
from sqlalchemy.sql.elements import Grouping
from sqlmodel import col

from taskdb_cli.database.backend import literal_sql
from taskdb_cli.database.search_index import MEND, SEARCH_PARTS
from taskdb_cli.health.examination import DAMAGED, Examination, Identity
from taskdb_cli.health.report import Result, Status, Unmeasured, none_of
from taskdb_cli.models import metadata
from taskdb_cli.models.history import Operation
from taskdb_cli.models.task import Task
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS, task_query
from taskdb_cli.services.listing.pages import Order
from taskdb_cli.services.listing.query import TaskFilter
from taskdb_cli.text.amounts import in_one_size, in_one_unit, in_words

FEWEST_TASKS = 10_000
"""A planner is right to read a smaller table from end to end."""

COUNTED_OPERATIONS = 10_000
"""A longer history is not counted but estimated by its ids."""

PAGE = 50

_RECREATE = "create it again with the SQL of 'taskdb migrate sql', or restore an archive into a new database"


def check_connection(exam: Examination) -> Result:
    """Judge how long connecting takes. If only the first connection was slow, the server had been asleep."""
    with suppress(Unmeasured, *DAMAGED):
        _ = exam.connection
    if exam.failure:
        return Result(Status.CRITICAL, exam.failure.message, remedy=exam.failure.hint)
    seconds = exam.connecting_seconds
    if exam.check.limits.judge(seconds) is not Status.OK:
        begun = time.perf_counter()
        exam.database.engine.raw_connection().close()
        again = time.perf_counter() - begun
        if exam.check.limits.judge(again) is Status.OK:
            took = f"the first connection took {in_one_unit(seconds)}, a second one {in_one_unit(again)}"
            return exam.judged(again, f"a cold start: {took}")
    message = f"{exam.database.backend.place} answered in {in_one_unit(seconds)}"
    return exam.judged(seconds, message, "look at the network and at the server's load")


def check_revision(exam: Examination) -> Result:
    """Demand the newest revision."""
    if problem := exam.schema_problem:
        return Result(Status.CRITICAL, problem.message, remedy=problem.hint)
    return Result(Status.OK, "the schema is at the newest revision")


def check_drift(exam: Examination) -> Result:
    """Find other differences from the models, and what has been added.

    It is critical that a table is missing, or not the kind of table that keeps all rows after a crash.
    """
    remedy = "undo the change that was made by hand; 'taskdb migrate check' lists all"
    found = dict.fromkeys(_differences(exam, "drift"), remedy)
    status = Status.CRITICAL if any(line.startswith("table ") for line in found) else Status.WARNING
    return none_of(found, "the tables are as the models say", "the tables were changed", status=status)


def _differences(exam: Examination, check: str) -> list[str]:
    """Return the differences from the models that a check reports. `drift` reports what was added."""
    tellers = {"constraint": "constraints", "primary": "constraints", "index": "indexes"}
    constraints = {line.split()[1] for line in exam.differences if line.startswith("constraint ")}
    found = []
    for line in exam.differences:
        kind, name, *_ = line.split()
        if f"{kind} {name}" in SEARCH_PARTS:
            # The search index itself knows what is wrong with it.
            continue
        added = line.endswith(" is not of taskdb")
        # A difference of a unique constraint is also one of its index. `indexes` reports invalid indexes.
        if kind == "index" and (name in constraints or (added and name in exam.faults("invalid"))):
            continue
        if check == ("drift" if added else tellers.get(kind, "drift")):
            found.append(line)
    return found


def check_constraints(exam: Examination) -> Result:
    """Demand that every constraint is there, is enforced, and was checked for older rows too."""
    unenforced, lost = exam.faults("unenforced"), _differences(exam, "constraints")
    if unenforced:
        # These reasons name the constraints with disabled triggers already.
        lost = [line for line in lost if "with disabled triggers, not" not in line]
    if faults := unenforced | dict.fromkeys(lost, _RECREATE):
        return none_of(faults, "", "rules are not enforced as they should be")
    fine = "every constraint is there and validated"
    bad = "older rows were never checked against these constraints"
    return none_of(exam.faults("unvalidated"), fine, bad, status=Status.WARNING)


def check_indexes(exam: Examination) -> Result:
    """Demand that every index is there, as the models say, and answers queries.

    It is critical that no task can be written, or that searches miss some, because of the search index.
    """
    invalid = {f"{name} is invalid": remedy for name, remedy in exam.faults("invalid").items()}
    found = invalid | dict.fromkeys(_differences(exam, "indexes"), _RECREATE)
    bad, status = "queries will be slow", Status.WARNING
    search = exam.database.backend.search_index(exam.connection)
    if search.problem:
        found[f"search index: {search.problem}"] = MEND
    if search.harmful:
        bad, status = "tasks cannot be written, or searches miss some", Status.CRITICAL
    return none_of(found, "every index is there and valid", bad, status=status)


def check_orphans(exam: Examination) -> Result:
    """Count rows that refer to a missing row, such as tasks without their user. This reads whole tables."""
    exam.require_all_rows()
    found, total = dict[str, str](), 0
    for table in metadata().sorted_tables:
        for key in table.foreign_keys:
            column, parent = key.parent.name, key.column.table.name
            [(number,)] = exam.ask(
                f"SELECT count(*) FROM {table.name} LEFT JOIN {parent} ON {parent}.id = {table.name}.{column}"
                f" WHERE {table.name}.{column} IS NOT NULL AND {parent}.id IS NULL"
            )
            if number:
                total += number
                remedy = f"DELETE FROM {table.name} WHERE {column} NOT IN (SELECT id FROM {parent})"
                refer = "refers to a missing row" if number == 1 else "refer to missing rows"
                found[f"{in_words({'rows': number})} of {table.name} {refer} of {parent}"] = remedy
    if not found:
        return Result(Status.OK, "every foreign key finds its row", 0)
    remedy = f"restore an archive into a new database, or {'; '.join(found.values())}"
    return Result(Status.CRITICAL, "; ".join(found), total, remedy=remedy)


def check_identity(exam: Examination) -> Result:
    """Demand that each table has a next id, and that it is above the highest id in the table."""
    found, fails = dict[str, str](), False
    for each in exam.identities:
        used_up = each.next is not None and each.next > each.most
        if each.next is None:
            fault = f"{each.table} has no sequence that gives out ids"
        elif used_up:
            fault = f"{each.table} has used its last id, {each.most}"
        elif each.next <= each.highest:
            fault = f"the next id of {each.table} is {each.next}, but its highest id is {each.highest}"
        else:
            continue
        found[fault] = _more_ids(each) if used_up else each.remedy
        fails = fails or each.collides or used_up
    bad = "new rows cannot get an id, or get one that is taken"
    status = Status.CRITICAL if fails else Status.WARNING
    return none_of(found, "every next id is above the highest id", bad, status=status)


def _more_ids(identity: Identity) -> str:
    # The counter alone may be at the end, as after an import of one row that was deleted again.
    if identity.highest < identity.most // 2:
        return identity.remedy
    return f"raise the highest value of the identity of {identity.table}.id, or reload the rows with new ids"


def check_identity_left(exam: Examination) -> Result:
    """Judge how many of the possible ids are left, in per cent."""
    left = []
    for each in exam.identities:
        if each.next is None:
            raise Unmeasured("a table has no sequence that gives out ids")
        left.append((100 * (1 - max(each.next, each.highest + 1) / each.most), each))
    percent, worst = min(left, key=itemgetter(0))
    message = f"{percent:.2f} % of the ids of {worst.table} are left"
    return exam.judged(max(0.0, percent), message, _more_ids(worst))


def check_rules(exam: Examination) -> Result:
    """Look for rows that break a rule.

    If the engine vouches for its constraints, this checks only those that are missing, not enforced or not
    validated. Otherwise it checks all of them.
    """
    exam.require_all_rows()
    remedy = "correct the rows, or restore an archive into a new database"
    broken = dict.fromkeys([*exam.broken_rows(), *_broken_rules(exam)], remedy)
    return none_of(broken, "no row breaks a rule", "rows break the rules of their table")


def _broken_rules(exam: Examination) -> Iterator[str]:
    unvalidated = exam.faults("unvalidated")
    suspect = {line.split()[1] for line in _differences(exam, "constraints")} | unvalidated.keys()
    changed = {line.partition(" is ")[0] for line in exam.differences}
    for table in metadata().sorted_tables:
        # They are a set, whose order is another one in every process.
        rules = sorted(table.constraints, key=lambda rule: str(rule.name))
        doubtful = {
            str(rule.name): not_(Grouping(rule.sqltext))
            for rule in rules
            if isinstance(rule, CheckConstraint) and (not exam.vouches or str(rule.name) in suspect)
        }
        # Since PostgreSQL 18 a NOT NULL is a constraint with its own name.
        doubtful |= {
            f"NOT NULL of {name}": column.is_(None)
            for name, column in table.columns.items()
            if not column.nullable and (unvalidated or f"column {table.name}.{name}" in changed)
        }
        if doubtful:
            # One pass over the table counts all rules. A rule may have several conditions, joined by AND.
            counts = [func.count().filter(condition) for condition in doubtful.values()]
            query = select(*counts).select_from(table)
            numbers = exam.connection.execute(query).one()
            yield from (
                f"{in_words({'rows': number})} {'breaks' if number == 1 else 'break'} {name}"
                for name, number in zip(doubtful, numbers, strict=True)
                if number
            )
        uniques = [rule for rule in rules if isinstance(rule, UniqueConstraint)]
        keys = [list(rule.columns) for rule in uniques if str(rule.name) in suspect]
        if f"primary key of {table.name}" in changed:
            keys.append(list(table.primary_key))
        for columns in keys:
            # Rows without one of the values share nothing with others.
            present = and_(*(column.is_not(None) for column in columns))
            groups = select(*columns).where(present).group_by(*columns).having(func.count() > 1)
            number = exam.connection.execute(select(func.count()).select_from(groups.subquery())).scalar_one()
            if number:
                names = ", ".join(column.name for column in columns)
                occur = "occurs" if number == 1 else "occur"
                yield f"{in_words({'values': number})} of {names} of {table.name} {occur} more than once"


def check_history(exam: Examination) -> Result:
    """Judge the age of the oldest operation of the history, and tell how many there are."""
    exam.require_all_rows()
    id = col(Operation.id)
    ends = select(id, col(Operation.at)).order_by(id).limit(1), select(func.max(id))
    oldest, newest = (exam.connection.execute(end).one_or_none() for end in ends)
    if oldest is None or newest is None:
        return exam.judged(0, "the history is empty")
    at, span = oldest.at, newest[0] - oldest.id + 1
    if span < COUNTED_OPERATIONS:
        number = exam.connection.execute(select(func.count()).select_from(Operation)).scalar_one()
        operations = in_words({"operations": number})
    else:
        # Pruning deletes the oldest, and hardly an id between is missing.
        operations = f"about {in_words({'operations': round(span, -3)})}"
    size = exam.history_bytes()
    takes = "" if size is None else f" in {in_one_size(size)}"
    message = f"{operations}{takes}, the oldest of {at:%Y-%m-%d %H:%M} UTC"
    remedy = (
        "'taskdb history prune' deletes old operations by TASKDB_HISTORY_KEEP, and so does a nightly backup"
    )
    return exam.judged(max(0.0, (exam.now - at).total_seconds()), message, remedy)


def check_plans(exam: Examination) -> Result:
    """Ask for the plans of the usual forms of `task list`, without running them."""
    exam.require_all_rows()
    if (tasks := exam.count_tasks()) < FEWEST_TASKS:
        raise Unmeasured(f"{in_words({'tasks': tasks})}: too few for a plan to matter")
    # The newest task has an owner, who has at least this task.
    newest = select(col(Task.user_id)).order_by(col(Task.id).desc()).limit(1)
    owner = exam.connection.execute(newest).scalar_one()
    of_one = task_query(TaskFilter(users=(str(owner),)), [owner])
    forms = {f"--user --sort {sort}": of_one for sort in ("-created", "due", "-updated", "-priority")}
    forms["--overdue --sort due"] = task_query(TaskFilter(overdue_at=exam.now), [])
    forms["--sort -created"] = task_query(TaskFilter(), [])
    remedy = "ANALYZE tasks; then look at 'taskdb task list --explain' and at the check indexes"
    slow = {}
    for options, tasks_query in forms.items():
        order = Order.parse(options.split()[-1], TASK_SORT_KEYS)
        for part in order.parts(tasks_query):
            lines = exam.ask(f"{exam.explain} {literal_sql(exam.connection, part.limit(PAGE + 1))}")
            if any(re.search(exam.full_scan, str(line)) for *_, line in lines):
                slow[options] = remedy
    fine, bad = "the usual lists are read from an index", "these lists read every task"
    return none_of(slow, fine, bad, status=Status.WARNING)
