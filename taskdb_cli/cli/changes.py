"""Changes of tasks that are named by ids or by filters, and what a person is asked and told about them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import chain
from typing import IO, TYPE_CHECKING, Any

from taskdb_cli import services
from taskdb_cli.cli import options
from taskdb_cli.cli.answers import answer, is_told, listed, show_first, wants_record
from taskdb_cli.cli.context import Invocation
from taskdb_cli.cli.options import read_request
from taskdb_cli.cli.output import Output, show_json, show_record, show_records
from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import TaskStatus
from taskdb_cli.output.formats import TASKS, Format, Record
from taskdb_cli.services.listing.query import ListQuery, TaskFilter
from taskdb_cli.system.paths import temporary_storage
from taskdb_cli.text.amounts import in_words

if TYPE_CHECKING:
    from sqlmodel import Session

    from taskdb_cli.services.bulk import Preview

Named = Sequence[int | range] | TaskFilter
"""Tasks as a command names them."""


@dataclass(frozen=True)
class Way:
    """The options that say how a change is made."""

    yes: options.Yes = False
    dry_run: options.DryRun = False


@dataclass(frozen=True)
class Verb:
    """The words for a change."""

    do: str
    """What is done to the tasks at `{}`."""
    done: str
    was: str = ""
    """The state of a task that needs no change, such as `done`."""
    status: TaskStatus | None = None
    """The new status of the tasks."""
    destroys: bool = False


UPDATE = Verb("update {}", "updated {}", "up to date")
START = Verb("start {}", "started {}", "in progress", TaskStatus.IN_PROGRESS)
DONE = Verb("mark {} as done", "done {}", "done", TaskStatus.DONE)
REOPEN = Verb("reopen {}", "reopened {}", "open", TaskStatus.TODO)
CANCEL = Verb("cancel {}", "cancelled {}", "cancelled", TaskStatus.CANCELLED)
DELETE = Verb("delete {}", "deleted {}", destroys=True)


class Written:
    """The ids of the tasks that a change wrote, and with `whole` their records too.

    The records are in a temporary file, or in memory if they are `secret`.
    """

    def __init__(self, run: Invocation, *, whole: bool, secret: bool = False) -> None:
        self.ids: Sequence[int] = ()
        self.first: Record | None = None
        self._file: IO[bytes] | None = None
        if whole:
            self._file = BytesIO() if secret else run.temporary_file()
        self._parts = 0

    def take(self, written: Iterable[Sequence[Record]]) -> None:
        """Take all records, in place of those of an earlier attempt; raise StorageFailed without room."""
        import pickle
        from array import array

        ids, self.first, self._parts = array("q"), None, 0
        if self._file:
            self._file.seek(0)
        for records in written:
            self.first = self.first or records[0]
            # In a dry run, a row that would get a new id has none.
            ids.extend(record["id"] for record in records if record["id"] is not None)
            if self._file:
                with temporary_storage("nothing was changed"):
                    pickle.dump(records, self._file, pickle.HIGHEST_PROTOCOL)
                    self._file.flush()
                self._parts += 1
        self.ids = ids

    def records(self) -> Iterator[Record]:
        """Yield the records."""
        import pickle

        assert self._file
        self._file.seek(0)
        for _ in range(self._parts):
            yield from pickle.load(self._file)  # noqa: S301 (written by this process, readable by no other)


def named(
    run: Invocation, words: list[Any] | None, query: ListQuery[TaskFilter], where: dict[str, Any]
) -> Named:
    """Return the ids or the filter that tasks are named by; raise InvalidInput for neither and for both."""
    ids, request = [*chain.from_iterable(words or [])], read_request(run, query, where)
    if bool(ids) == bool(request.asked):
        problem = "both by ids and by filters" if ids else "neither by ids nor by filters"
        option = f"--{query.prefix.replace('_', '-')}status"
        raise InvalidInput(f"the tasks are named {problem}", f"give ids, or filters such as {option}")
    return ids or request.filter


def change_tasks(
    run: Invocation,
    verb: Verb,
    tasks: Named,
    values: dict[str, object],
    *,
    output: Output,
    way: Way,
    owner: str | None = None,
    if_version: int | None = None,
    after: str = "",
) -> None:
    """Change tasks, and print a line or the records. `after` is a clause for the end of the line."""
    from taskdb_cli.models.task import TaskUpdate

    given = TaskUpdate.checked(values)
    if isinstance(tasks, TaskFilter):
        if if_version is not None:
            raise InvalidInput("--if-version needs tasks that are named by ids", "leave it out")
        if not values and owner is None:
            raise InvalidInput("no change is given", "give a new value, such as --priority high")
        look = partial(services.bulk.preview_change, filter=tasks, given=given, owner=owner)
        work = partial(services.bulk.change, filter=tasks, given=given, owner=owner, now=run.now)
        written = Written(run, whole=wants_record(run, output))
        _write_matching(run, verb, look, work, written, way=way, after=after)
        if written.ids and not way.dry_run:
            run.did(f"updated {in_words({'tasks': len(written.ids)})}", look="taskdb task list")
        if way.dry_run or is_told(output):
            rest = "" if written.ids else _untouched(run, verb, tasks)
            _tell(run, verb, written.ids, written.first, way=way, after=after, rest=rest)
        if wants_record(run, output):
            show_records(run.counting(written.records()), TASKS, output)
        return
    change = partial(services.task.change, ids=tasks, given=given, owner=owner, if_version=if_version)
    records = run.database.write(partial(change, now=run.now), dry_run=way.dry_run)
    changed = [record for record in records if record["updated_at"] == run.now]
    if changed and not way.dry_run:
        one = f"show {changed[0]['id']}" if len(changed) == 1 else "list"
        run.did(f"updated {_describe(changed)}", look=f"taskdb task {one}")
    if way.dry_run or is_told(output):
        same = [record["id"] for record in records if record["updated_at"] != run.now]
        what = f"task {same[0]} was" if len(same) == 1 else f"tasks {listed(same)} were"
        rest = f"{what} {verb.was} already" if same else ""
        _tell(run, verb, _ids(changed), changed[0] if changed else None, way=way, after=after, rest=rest)
    if wants_record(run, output):
        show_named(records, tasks, output)


def show_named(records: Sequence[Record], ids: Sequence[int | range], output: Output) -> None:
    """Print records of tasks that were named by ids: a single id gives an object in JSON, others an array."""
    if len(records) == 1 and all(isinstance(id, int) for id in ids):
        show_record(records[0], TASKS, output)
    else:
        show_records(records, TASKS, output)


def delete_tasks(run: Invocation, tasks: Named, output: Output, way: Way) -> None:
    """Delete tasks, and say which."""
    ids: Sequence[int]
    if isinstance(tasks, TaskFilter):
        look = partial(services.bulk.preview_removal, filter=tasks)
        written = Written(run, whole=False)
        _write_matching(run, DELETE, look, partial(services.bulk.remove, filter=tasks), written, way=way)
        ids, first = written.ids, written.first
        gone = f"{in_words({'tasks': len(ids)})} ({listed(ids)})" if ids else "no task: none matches"
    else:
        if not (way.dry_run or run.agreed(yes=way.yes)):
            found = run.database.read(partial(services.task.get_all, ids=tasks))
            run.confirm(DELETE.do.format(_ask_about(found)), yes=way.yes)
            # A range may hold other tasks by now.
            tasks = _ids(found)
        records = run.database.write(partial(services.task.remove, ids=tasks), dry_run=way.dry_run)
        ids, first, gone = _ids(records), records[0], _describe(records)
    run.rows = len(ids)
    if ids and not way.dry_run:
        run.did(f"deleted {gone}", look="taskdb task list")
    if is_told(output):
        _tell(run, DELETE, ids, first, way=way, rest="" if ids else "no task matches")
    else:
        run.say(f"{'would delete' if way.dry_run else 'deleted'} {gone}")
    if output.format is Format.JSON:
        show_json({"tasks_deleted": [*ids], "dry_run": way.dry_run})


def _ask_about(records: Sequence[Record]) -> str:
    if not sys.stderr.isatty():
        return _describe(records)
    if len(records) == 1:
        return f'task {records[0]["id"]} "{records[0]["title"]}"'
    return f"{in_words({'tasks': len(records)})} ({listed(_ids(records))})"


def _write_matching(
    run: Invocation,
    verb: Verb,
    look: Callable[[Session], Preview],
    work: Callable[..., Iterable[Sequence[Record]]],
    written: Written,
    *,
    way: Way,
    after: str = "",
) -> None:
    """Write the matching tasks; ask before, unless --yes, --confirm or --dry-run was given."""
    shown = None
    if not (way.dry_run or run.agreed(yes=way.yes, destroys=verb.destroys)):
        shown = run.database.read(look, bulk=True)
        if shown.count:
            if run.may_ask:
                show_first(run, shown.first, TASKS, shown.count)
            if after:
                run.say(after)
            run.confirm(verb.do.format(in_words({"tasks": shown.count})), yes=way.yes, destroys=verb.destroys)
    write = partial(run.database.write, dry_run=way.dry_run, bulk=True)
    write(lambda session: written.take(work(session, shown=shown)))


def _untouched(run: Invocation, verb: Verb, filter: TaskFilter) -> str:
    """Return why nothing was done to the tasks that match."""
    count = run.database.read(lambda session: services.task.count(session, filter), bulk=True)
    if count == 0:
        return "no task matches"
    return f"{in_words({'tasks': count})} {'was' if count == 1 else 'were'} {verb.was} already"


def _tell(
    run: Invocation,
    verb: Verb,
    ids: Sequence[int],
    first: Record | None,
    *,
    way: Way,
    after: str = "",
    rest: str = "",
) -> None:
    """Say in one line what was done to which tasks, and the rest."""
    if not ids:
        answer(run, rest)
        return
    before, end = (f"would {verb.do}" if way.dry_run else verb.done).split("{}")
    end += (f", {after}" if after else "") + (f"; {rest}" if rest else "")
    if first and len(ids) == 1:
        answer(run, f"{before}task {ids[0]}", first["title"], end)
    else:
        answer(run, f"{before}{in_words({'tasks': len(ids)})} ({listed(ids)}){end}")


def _ids(records: Sequence[Record]) -> list[int]:
    return [record["id"] for record in records]


def _describe(records: Sequence[Record]) -> str:
    if len(records) == 1:
        return f"task {records[0]['id']}, {records[0]['title']!r}"
    return f"{in_words({'tasks': len(records)})} ({', '.join(str(record['id']) for record in records)})"
