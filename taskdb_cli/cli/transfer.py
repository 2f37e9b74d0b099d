"""What the import and export commands share: the file, the progress bar, the report of problems."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Annotated, Literal

import typer

from taskdb_cli.cli.completion import complete_words
from taskdb_cli.cli.context import Invocation, write_stderr
from taskdb_cli.cli.options import optional
from taskdb_cli.cli.output import CsvSafe, Output, format_option, show_json, show_records
from taskdb_cli.errors import FileMissing, InvalidInput, TaskdbError
from taskdb_cli.models.vocabulary import Existing, FileFormat
from taskdb_cli.output.formats import Format, Record, View
from taskdb_cli.system import signals
from taskdb_cli.system.paths import temporary_storage
from taskdb_cli.text.amounts import in_words
from taskdb_cli.text.escaping import one_line
from taskdb_cli.times import parse_written
from taskdb_cli.transfer.options import ENCODINGS, ReadOptions, listed

if TYPE_CHECKING:
    from sqlmodel import Session

    from taskdb_cli.transfer.batch import Batch
    from taskdb_cli.transfer.files import Source
    from taskdb_cli.transfer.problems import Problem, Problems
    from taskdb_cli.transfer.staging import Outcome

MOST_PROBLEMS = 10
"""How many kinds of problems an import names."""

_FROM = typer.Option(
    "--from",
    metavar="FORMAT",
    case_sensitive=False,
    help="The format; auto detects it by the name and content.",
)
FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="A file, or - for standard input.")]
FromUserFile = Annotated[Literal["auto", "csv", "json", "ndjson"], _FROM]
FromTaskFile = Annotated[FileFormat, _FROM]
IfExisting = Annotated[
    Existing,
    typer.Option(
        "--existing",
        metavar="WHAT",
        case_sensitive=False,
        help="What to do with a record that exists and differs.",
    ),
]
CountsOutput = Annotated[Format | None, format_option("json also prints the counts on stdout.")]


@dataclass(frozen=True)
class ImportOptions(ReadOptions):
    """The options that say how a file to import is read."""

    delimiter: Annotated[
        str | None,
        optional(
            "The separator of cells in CSV: one character, or tab. By default it is detected.",
            metavar="CHARACTER",
            autocompletion=complete_words((",", ";", "|", "tab")),
        ),
    ] = None
    encoding: Annotated[
        str | None,
        optional(
            "The encoding of the file, if it is not Unicode.",
            metavar="NAME",
            autocompletion=complete_words(ENCODINGS),
        ),
    ] = None
    map: Annotated[
        list[str] | None,
        optional(
            "Read a column as this field, such as 'Created on=created_at'; repeat for several.",
            metavar="COLUMN=FIELD",
        ),
    ] = None
    ignore_unknown: Annotated[
        bool, typer.Option("--ignore-unknown", help="Skip unknown columns and fields.")
    ] = False


@dataclass(frozen=True)
class ExportOutput(Output):
    """The options that say how an export is written. An import reads each of the formats."""

    format: Annotated[
        Literal["ndjson", "json", "csv"],
        typer.Option("--output", "-o", metavar="FORMAT", case_sensitive=False, help="The format."),
    ] = "ndjson"  # type: ignore[assignment]
    csv_safe: CsvSafe = False


def import_file(
    run: Invocation,
    path: str,
    format: str,
    reading: ImportOptions,
    *,
    read: Callable[[Batch], None],
    bring_in: Callable[[Session, Batch], Outcome],
    dry_run: bool,
    output: Format | None,
    look: str,
) -> None:
    """Import a file and say what that did. Raise InvalidRecords after saying what is wrong with its records.

    `look` is the command that shows the records.
    """
    from taskdb_cli.transfer.batch import Batch
    from taskdb_cli.transfer.files import Source
    from taskdb_cli.transfer.problems import MOST_KINDS, Problems

    if not dry_run:
        # Reading takes long. A user who stops it is told that nothing was imported.
        signals.note_change(made=False)
    name = "standard input" if path == "-" else path
    problems = Problems(keep=output is Format.JSON)
    with (
        # Outside of the progress bar, which is gone by then.
        _printing_problems(problems, name, output),
        _opened(path) as file,
        run.progress() as show,
    ):
        source = Source.open(file, name, None if format == "auto" else FileFormat(format), reading)
        with Batch(source, parse_time=parse_written, problems=problems, progress=show) as batch:
            read(batch)
            outcome = _bring_in(run, batch, bring_in, dry_run=dry_run)
    counts = {"created": outcome.created, "updated": outcome.updated, "unchanged": outcome.unchanged}
    run.rows = sum(counts.values())
    run.say(("dry run: " if dry_run else "") + _summary(counts, outcome.without_external_id, source))
    # Other formats note only a few kinds of things that they cannot keep, so all of them are printed.
    for note in batch.notes.most_frequent(MOST_KINDS)[0]:
        run.say(_in_one_line(note, name))
    if not dry_run and (outcome.created or outcome.updated):
        run.did(f"imported: {outcome.created:,} created, {outcome.updated:,} updated", look=look)
    if output is Format.JSON:
        show_json(counts)


def _bring_in(
    run: Invocation, batch: Batch, bring_in: Callable[[Session, Batch], Outcome], *, dry_run: bool
) -> Outcome:
    """Write what was read to the database.

    A missing SQLite file is made only for what will be written to it. An empty database stands in for it
    first, so that a dry run says the same, and what the database refuses is reported before a file is made.
    """
    from taskdb_cli.database.scratch import scratch_database
    from taskdb_cli.services import migrate

    def work(session: Session) -> Outcome:
        return bring_in(session, batch)

    if run.is_database_missing():
        with scratch_database() as database:
            migrate.upgrade(database)
            outcome = database.write(work, dry_run=True, bulk=True)
        if dry_run:
            run.say(f"would create {run.database.backend.place}")
            return outcome
    return run.database_made_if_missing().write(work, dry_run=dry_run, bulk=True)


def _summary(counts: Mapping[str, int], without_external_id: int, source: Source) -> str:
    """Return how many records were imported, and what is lost or will be imported twice."""
    parts = [", ".join(f"{number:,} {what}" for what, number in counts.items())]
    if without_external_id:
        have, them = ("has", "it") if without_external_id == 1 else ("have", "them")
        parts.append(f"{without_external_id:,} {have} no external id: another import creates {them} again")
    if source.foreign and source.foreign.remark:
        parts.append(source.foreign.remark)
    if source.left_out:
        parts.append(f"left out: {listed(source.left_out)}")
    return "; ".join(parts)


@contextmanager
def _printing_problems(problems: Problems, name: str, output: Format | None) -> Iterator[None]:
    """Before a failure is reported, print what is wrong with the records. In JSON the error has it."""
    try:
        yield
    except TaskdbError as exc:
        if output is not Format.JSON:
            _print_problems(problems, name)
        elif details := problems.details():
            exc.details = details
        raise


def _print_problems(problems: Problems, name: str) -> None:
    kinds, more = problems.most_frequent(MOST_PROBLEMS)
    for each in kinds:
        write_stderr(_in_one_line(each, name))
    if more:
        what = "problem of another kind" if more == 1 else "problems of other kinds"
        write_stderr(one_line(f"{name}: {more:,} more {what} (-o json lists all)"))


def _in_one_line(problem: Problem, name: str) -> str:
    if problem.records == 1:
        more = ", and others like this" if problem.varies else ""
        return one_line(f"{name}:{problem.first}: {problem.reason}{more}")
    like = " like this" if problem.varies else ""
    places = f"first in {problem.first}, last in {problem.last}"
    return one_line(f"{name}: {in_words({'records': problem.records})}{like}: {problem.reason}; {places}")


def print_export(records: Iterable[Record], view: View, output: ExportOutput) -> None:
    """Print records as an import reads them."""
    show_records(records, view, Output(Format(output.format), output.csv_safe))


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    """Open a file to read twice, because its beginning says which format it has. A pipe is copied first."""
    if path == "-" and sys.stdin is None:
        raise InvalidInput("there is no standard input")
    try:
        given: AbstractContextManager[IO[bytes]] = (
            nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb")  # noqa: PTH123, SIM115
        )
    except FileNotFoundError:
        raise FileMissing(path, "check the path; '-' reads standard input") from None
    except IsADirectoryError:
        raise InvalidInput(f"{path} is a directory", "name a file; '-' reads standard input") from None
    with given as file, TemporaryFile() as copy:
        if path != "-" and file.seekable():
            yield file
        else:
            while chunk := file.read(2**20):
                with temporary_storage("nothing was imported"):
                    copy.write(chunk)
                    copy.flush()
            yield copy
