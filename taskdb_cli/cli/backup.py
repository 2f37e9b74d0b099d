"""taskdb backup: back up the database; list, verify and prune its archives."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing, suppress
from dataclasses import astuple, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taskdb_cli import errors
from taskdb_cli.cli.archive_argument import ArchiveArgument, ArchiveArguments
from taskdb_cli.cli.backup_copy import copy_archives
from taskdb_cli.cli.backup_create import (
    back_up,
    back_up_to_file,
    drill_archive,
    recording_damage,
    write_to_stdout,
)
from taskdb_cli.cli.backup_diff import diff
from taskdb_cli.cli.backup_location import BackupLocation, LocationWithKeys
from taskdb_cli.cli.backup_options import EncryptTo, Keep
from taskdb_cli.cli.commands import Commands, Group
from taskdb_cli.cli.options import DryRun, optional, optional_user, with_option_groups
from taskdb_cli.cli.output import Output, show_json, show_records
from taskdb_cli.output.formats import ARCHIVES, CONTENTS, DECISIONS, FIGURES, TASKS, Format, Record, to_plain
from taskdb_cli.text.amounts import in_words
from taskdb_cli.text.escaping import hide_secrets

if TYPE_CHECKING:
    from taskdb_cli.backup.archive import Archive
    from taskdb_cli.backup.directory import BackupDirectory
    from taskdb_cli.backup.retention import Policy
    from taskdb_cli.backup.stores import StoredFile
    from taskdb_cli.cli.context import Invocation

app = Commands(
    cls=Group,
    help="Back up the database; list, verify and prune archives.",
    invoke_without_command=True,
)

Drill = Annotated[
    bool, typer.Option("--drill", help="Also restore each archive into a scratch database, as a test.")
]


@app.callback(
    epilog=("taskdb backup\ntaskdb backup --dir /var/backups/taskdb --keep-daily 7 --keep-weekly 5")
)
@with_option_groups
def main(
    *,
    location: LocationWithKeys,
    file: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Write one archive to this new file; - is stdout, not verified."),
    ] = None,
    keep: Keep,
    metrics_file: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write metrics for Prometheus' textfile collector.")
    ] = None,
    drill: Drill = False,
    replica: Annotated[
        bool, typer.Option("--replica", help="Read the rows from the replica that TASKDB_READ_URL names.")
    ] = False,
    encrypt_to: EncryptTo = None,
    check_config: Annotated[
        bool, typer.Option("--check-config", help="Print the configuration, and make no backup.")
    ] = False,
    output: Output,
) -> None:
    """Back up the database, and verify the archive."""
    if location.ctx.invoked_subcommand is not None:
        location.refuse_other_options()
        return
    policy = keep.policy()
    if file is not None and (policy or drill or metrics_file):
        raise errors.InvalidInput(
            "--file cannot be combined with --keep-…, --drill or --metrics-file", "leave them out"
        )
    if file is not None:
        location.refuse_several()
    recipients = location.recipients(encrypt_to)
    if drill:
        location.require_identity_of(recipients)
    if check_config:
        keys = location.recipient_texts(encrypt_to)
        _show_configuration(location, policy, metrics_file, keys, output, replica=replica)
    elif file == "-":
        write_to_stdout(location, recipients, output, replica=replica)
    elif file is not None:
        back_up_to_file(location, file, recipients, output, replica=replica)
    else:
        back_up(location, policy, metrics_file, recipients, replica=replica, drill=drill, output=output)


@app.command("list", epilog=("taskdb backup list\ntaskdb backup list --label neondb -o json"))
def list_(*, location: BackupLocation, output: Output) -> None:
    """List the archives of the directory, oldest first.

    Each is shown with its last verification and test restore.
    """
    run, directory = location.run, location.directory
    found = run.counting(directory.records(location.given_label, say=run.say))
    if output.effective_format is not Format.TABLE:
        show_records(found, ARCHIVES, output)
    elif records := list(found):
        _show_archives(location, records)
    elif directory.store.exists():
        of_label = f" of {location.given_label}" if location.given_label else ""
        run.say(f"there are no archives{of_label} in {directory}")
    if not directory.store.exists():
        run.say(f"there is no directory {directory}")


def _show_archives(location: BackupLocation, records: list[Record]) -> None:
    from taskdb_cli.backup.encryption import is_encrypted
    from taskdb_cli.backup.naming import short_names
    from taskdb_cli.output.archives import print_archives
    from taskdb_cli.output.pager import paged

    label = ""
    with suppress(errors.InvalidConfiguration):
        label = location.label
    begin, names = short_names([record["archive"] for record in records], label)
    encrypted = sum(is_encrypted(record["archive"]) for record in records)
    some = f", {'all' if encrypted == len(records) else encrypted} encrypted," if encrypted else ""
    heading = f"{in_words({'archives': len(records)})}{some} in {location.directory}"
    heading += f"; names begin with {begin}" if begin else ""
    with paged(sys.stdout) as stream:
        print_archives(records, names, heading, stream, now=location.run.now)


@app.command(epilog=("taskdb backup show latest\ntaskdb backup show latest --user ann@example.com -o json"))
def show(
    archive: ArchiveArgument,
    *,
    user: Annotated[str | None, optional_user("List the tasks of this user instead.")] = None,
    location: LocationWithKeys,
    output: Output,
) -> None:
    """Show what an archive contains, or its tasks of one user.

    It checks the seal of the archive. Without the key of an encrypted archive it shows what the record says.
    """
    from taskdb_cli.backup.archive import Archive
    from taskdb_cli.backup.proving import compare, recorded

    run, format = location.run, output.effective_format
    file = location.find(archive, run.database, offline=True)
    known = location.directory_of(file).known_of(file)
    manifest, seal = None, known.verified.seal if known.verified else None
    try:
        with Archive.open(file, location.identities) as found:
            if user is not None:
                _show_user(run, found, file, user, output)
                return
            manifest, size, seal = found.manifest, found.size, found.seal
            encrypted, contents = found.encrypted, manifest.record()
    except errors.ArchiveEncrypted as exc:
        if location.identities or user is not None:
            raise
        if proof := known.verified:
            compare(file, proof)
        size = file.store.size(file.name)
        encrypted, contents = True, recorded(file.name, proof)
        run.say(f"{exc.message}: {'shown from the record' if proof else 'shown as far as it is known'}")
    if format is Format.JSON:
        shown = {"archive": str(file), "size": size, "seal": seal, **contents, "encrypted": encrypted}
        show_json({name: to_plain(value) for name, value in shown.items()})
    elif format is Format.TABLE:
        from taskdb_cli.output.archives import print_archive

        print_archive(file, size, manifest, known, sys.stdout, now=run.now, encrypted=encrypted)
    else:
        tables = ({**each, "table": each["name"]} for each in contents["tables"] or ())
        show_records(tables, CONTENTS, output)
        if manifest:
            origin = manifest.origin
            run.say(
                f"{origin.label}, {origin.engine} {origin.server_version}, revision {origin.revision}, "
                f"taken at {origin.created_at:%Y-%m-%dT%H:%M:%SZ} by {manifest.tool}"
            )


def _show_user(run: Invocation, archive: Archive, file: StoredFile, ref: str, output: Output) -> None:
    """List the tasks that an archive holds of a user, and say who that is."""
    from taskdb_cli.backup.contents import open_user
    from taskdb_cli.backup.restore import archived_rows

    user, tasks = open_user(archived_rows(archive), ref, file)
    with closing(tasks):
        show_records(run.counting(tasks), TASKS, output)
    state = "active" if user["is_active"] else "inactive"
    run.say(
        f"user {user['id']}, {user['email']}, {user['name']}, {state}: "
        f"{in_words({'tasks': run.rows or 0})} in {file}"
    )


@app.command(epilog=("taskdb backup verify latest\ntaskdb backup verify latest --drill"))
def verify(
    archives: ArchiveArguments,
    *,
    location: LocationWithKeys,
    drill: Drill = False,
    drill_url: Annotated[
        str | None,
        optional("The scratch database of --drill: one without rows; by default a file.", metavar="URL"),
    ] = None,
) -> None:
    """Verify archives: read every byte, and compare the checksums.

    Without the key, it compares an encrypted archive with its record. Exits 7 if an archive is damaged.
    """
    failures: list[errors.TaskdbError] = []
    for archive in archives:
        try:
            _verify(location, archive, drill=drill, drill_url=drill_url)
        except (
            errors.NotFound,
            errors.ArchiveEncrypted,
            errors.DataCorrupt,
            errors.StorageFailed,
            errors.Incomplete,
        ) as exc:
            if len(archives) == 1:
                raise
            location.run.say(exc.message)
            failures.append(exc)
    if failures:
        worst = next((each for each in failures if isinstance(each, errors.DataCorrupt)), failures[0])
        worst.message = f"{len(failures)} of {len(archives)} archives did not pass: {worst.message}"
        raise worst


def _verify(location: LocationWithKeys, archive: str, *, drill: bool, drill_url: str | None) -> None:
    from taskdb_cli.backup.archive import Archive
    from taskdb_cli.backup.create import verified

    run = location.run
    file = location.find(archive, run.database, offline=True, read_anyway=True)
    directory = location.directory_of(file)
    with ExitStack() as stack:
        with recording_damage([directory], file, run.now):
            try:
                opening = Archive.open(file, location.identities, all_bytes=False)
                opened = stack.enter_context(opening)
            except errors.ArchiveEncrypted:
                if drill or drill_url or location.identities:
                    raise
                _verify_by_record(run, directory, file)
                return
            backup = verified(file, opened)
        run.say(f"{file}: {in_words({'rows': backup.manifest.rows})} verified")
        directory.note_archive(file, backup.proof(run.now))
        if drill or drill_url:
            drill_archive(location, backup, [directory], drill_url, opened=opened)
            run.say(f"{file}: test restore passed")


def _verify_by_record(run: Invocation, directory: BackupDirectory, file: StoredFile) -> None:
    """Compare an encrypted archive with what was recorded when its content was verified."""
    from taskdb_cli.backup.proving import compare, require_proof

    proof = require_proof(file, directory.known_of(file).verified)
    compare(file, proof)
    rows = in_words({"rows": sum(proof.rows.values())})
    run.say(f"{file}: {rows} by its record; its bytes are those that were verified; it was not decrypted")
    directory.note_archive(file, replace(proof, verified_at=run.now, tag=""))


app.command(
    "copy", epilog="taskdb backup copy --to /mnt/usb\ntaskdb backup copy latest --to s3://bucket/taskdb"
)(copy_archives)
app.command(epilog="taskdb backup diff 2026-11-25 latest\ntaskdb backup diff latest live --details")(diff)


@app.command(
    epilog=(
        "taskdb backup prune --keep-last 10 --dry-run\ntaskdb backup prune --keep-daily 7 --keep-weekly 5"
    )
)
def prune(*, location: BackupLocation, keep: Keep, dry_run: DryRun = False, output: Output) -> None:
    """Delete archives of the database that no --keep rule keeps.

    It prints for each archive why it is kept or deleted.
    """
    from taskdb_cli.backup import retention
    from taskdb_cli.services.migrate import identify

    run, policy = location.run, retention.Policy(*astuple(keep))
    owner = location.owner(identify(run.database)[0])
    decisions = retention.prune(location.directory, owner, policy, now=run.now, dry_run=dry_run, say=run.say)
    if all(decision.suspect for decision in decisions):
        run.say(f"{location.directory} has no archive of {owner.label} that counts for this database")
    if (deleted := sum(not decision.keep for decision in decisions)) and not dry_run:
        run.did(f"deleted {in_words({'archives': deleted})}", look="taskdb backup list")
    decided = (
        {
            "archive": each.entry.name,
            "taken_at": each.entry.taken_at,
            "size": each.entry.size,
            "keep": each.keep,
            "reasons": "; ".join(each.reasons),
        }
        for each in decisions
    )
    show_records(decided, DECISIONS, output)


def _show_configuration(
    location: LocationWithKeys,
    policy: Policy | None,
    metrics_file: Path | None,
    recipients: list[str],
    output: Output,
    *,
    replica: bool,
) -> None:
    values = {
        "database": location.run.maintained.backend.place,
        **({"read from": location.run.settings.direct_replica_database().backend.place} if replica else {}),
        "directory": ", ".join(map(str, location.directories())),
        "label": location.label,
        "policy": policy.in_words() if policy else "keep everything",
        "history": f"keep {location.run.settings.history_keep}",
        "metrics file": metrics_file.absolute() if metrics_file else "none",
        "encrypted to": ", ".join(recipients) or "nobody: archives are not encrypted",
        "identity": ", ".join(map(str, location.identity_files)) or "none",
    }
    figures = ({"figure": name, "value": hide_secrets(str(value))} for name, value in values.items())
    show_records(figures, FIGURES, output)
