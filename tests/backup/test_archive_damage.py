"""Archives that are damaged or forged: each is refused with one line, and nothing is written."""

from __future__ import annotations

import io
import json
import os
import struct
import tracemalloc
import zipfile

import pytest
import zstandard

from taskdb_cli.backup import layout
from taskdb_cli.backup.archive import MAX_WINDOW, Archive
from taskdb_cli.backup.layout import MAX_BYTES
from taskdb_cli.backup.stores.places import file_at
from taskdb_cli.errors import ArchiveCorrupt, ArchiveTooNew
from taskdb_cli.exit_codes import ExitCode
from tests.archives import (
    ROWS,
    archive_bytes,
    claiming,
    forged,
    forged_tables,
    frame,
    manifest_of,
    sealed,
    unsealed,
    verify,
)

FRAMES = {name: frame(text) for name, text in ROWS.items()}
SMALL = archive_bytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "main.taskdb.zip"


def damage(path, data):
    """Return what is wrong with these bytes, which must be something."""
    path.write_bytes(data)
    with pytest.raises(ArchiveCorrupt) as refusal:
        verify(path)
    assert refusal.value.exit_code == ExitCode.CORRUPT
    start = f"{path} is damaged: "
    assert refusal.value.message.startswith(start)
    assert refusal.value.message.isprintable()
    assert path.read_bytes() == data
    assert list(path.parent.iterdir()) == [path]
    return refusal.value.message.removeprefix(start)


def refused(path):
    """Tell whether a file, changed in place, is refused as damaged and not otherwise."""
    try:
        verify(path)
    except ArchiveCorrupt:
        return True
    return False


def test_forgeries_differ_from_archives_only_in_what_is_forged(path):
    assert forged_tables(FRAMES) == forged_tables(FRAMES, edited()) == SMALL == sealed(unsealed(SMALL))
    path.write_bytes(SMALL)
    assert verify(path) == manifest_of()


def unnoticed_flips(path, data, seal):
    """Return the positions and bits whose flip goes unnoticed once the bytes are sealed."""
    path.write_bytes(seal(data))
    missed = []
    with path.open("r+b", buffering=0) as file:
        for position, byte in enumerate(data):
            for bit in range(8):
                flipped = data[:position] + bytes([byte ^ 1 << bit]) + data[position + 1 :]
                os.pwrite(file.fileno(), seal(flipped), 0)
                if not refused(path):
                    missed.append((position, bit))
    return missed


def test_a_flip_of_any_bit_is_noticed(path):
    assert unnoticed_flips(path, SMALL, bytes) == []


def test_a_flip_of_any_bit_is_noticed_even_under_a_seal_that_matches(path):
    assert unnoticed_flips(path, unsealed(SMALL), sealed) == []


def test_a_file_cut_short_anywhere_is_noticed(path):
    path.write_bytes(SMALL)
    for length in reversed(range(len(SMALL))):
        os.truncate(path, length)
        assert refused(path)


@pytest.mark.parametrize("extra", [b"\0", b"\n", b"PK", SMALL, unsealed(SMALL)], ids=range(5))
def test_bytes_before_or_behind_are_noticed(path, extra):
    assert damage(path, SMALL + extra)
    assert damage(path, sealed(unsealed(SMALL) + extra))
    assert damage(path, sealed(extra + unsealed(SMALL)))
    assert damage(path, extra + SMALL) == "its bytes do not match its seal"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "it does not end in a seal, so it was cut short or is no archive"),
        (b"\n" * 5000, "it does not end in a seal, so it was cut short or is no archive"),
        (b"sha256:" + b"0" * 64, "its bytes do not match its seal"),
        (sealed(b""), "it is too short for an archive"),
        (sealed(b"\0" * 5000), "there are bytes before, between or behind its members, or too few"),
        (sealed(b"\xff" * 5000), "its directory has an impossible size"),
    ],
    ids=range(6),
)
def test_what_is_no_archive_is_refused_with_the_reason(path, data, what):
    assert damage(path, data) == what


MANIFEST = ("manifest.json", manifest_of().encode())
USERS = ("users.copy.zst", FRAMES["users"])
TASKS = ("tasks.copy.zst", FRAMES["tasks"])


@pytest.mark.parametrize(
    "members",
    [
        [TASKS, USERS, MANIFEST],
        [MANIFEST, USERS, TASKS],
        [USERS, MANIFEST],
        [USERS, TASKS, ("notes.copy.zst", frame(b"")), MANIFEST],
        [USERS, TASKS],
        [],
    ],
    ids=["swapped", "manifest first", "one missing", "one more", "no manifest", "nothing"],
)
def test_members_that_the_manifest_does_not_name_are_refused(path, members):
    assert "manifest" in damage(path, forged(*members))


@pytest.mark.parametrize("again", [USERS, MANIFEST, TASKS])
def test_a_member_that_is_there_twice_is_refused(path, again):
    assert "twice" in damage(path, forged(again, USERS, TASKS, MANIFEST))


def test_tables_whose_contents_changed_places_are_refused(path):
    swapped = {"users": FRAMES["tasks"], "tasks": FRAMES["users"]}
    assert damage(path, forged_tables(swapped)).startswith("users.copy.zst: ")


@pytest.mark.parametrize(
    "name",
    [
        "../users.copy.zst", "/etc/passwd", "C:\\users.copy.zst", "users.copy.zst\0", "a/b.copy.zst",
        "Users.copy.zst", ".copy.zst", "users.copy.zst ", "manifest.json\n", "\x1b[2J", "", "x" * 5000,
    ],
)  # fmt: skip
def test_hostile_names_are_refused_and_shown_escaped(path, name):
    what = damage(path, forged((name, FRAMES["users"]), TASKS, MANIFEST))
    assert "which no archive has" in what
    assert len(what) < 150


def zipped(compression=zipfile.ZIP_STORED, *, flags=0, before=b""):
    """Return an archive as `zipfile` makes it, with a seal."""
    stream = io.BytesIO()
    stream.write(before)
    with zipfile.ZipFile(stream, "a" if before else "w", compression) as file:
        for name, body in (USERS, TASKS, MANIFEST):
            file.writestr(name, body)
        file.comment = b"x" * layout.SEAL_SIZE
        for entry in file.filelist:
            entry.flag_bits |= flags
    return sealed(unsealed(stream.getvalue()))


@pytest.mark.parametrize(
    "data",
    [
        zipped(),
        zipped(zipfile.ZIP_DEFLATED),
        zipped(flags=0x01),
        zipped(before=b"#!/bin/sh\n"),
    ],
    ids=["plain", "deflated", "encrypted", "prepended"],
)
def test_what_another_program_zipped_is_refused(path, data):
    assert damage(path, data)


HEADER_FIELDS = {"version": 4, "flags": 6, "method": 8, "time": 10, "crc": 14, "size": 18, "name": 30}
ENTRY_FIELDS = {"made by": 4, "flags": 8, "method": 10, "disk": 34, "attributes": 38, "offset": 42}


@pytest.mark.parametrize("field", HEADER_FIELDS)
def test_a_changed_local_header_is_refused(path, field):
    data = bytearray(unsealed(SMALL))
    data[HEADER_FIELDS[field]] ^= 1
    assert damage(path, sealed(bytes(data))).startswith("users.copy.zst: its ZIP header")


@pytest.mark.parametrize("field", ENTRY_FIELDS)
def test_a_changed_directory_is_refused(path, field):
    data = bytearray(unsealed(SMALL))
    data[SMALL.index(b"PK\1\2") + ENTRY_FIELDS[field]] ^= 1
    assert damage(path, sealed(bytes(data))) == "its ZIP directory is not one that taskdb writes"


@pytest.mark.parametrize("size", [2**16 + 1, 2**63, 2**64 - 1])
def test_a_directory_of_absurd_size_is_not_read(path, size):
    data = bytearray(unsealed(SMALL))
    struct.pack_into("<Q", data, len(data) - layout.END_SIZE + 40, size)
    assert damage(path, sealed(bytes(data))) == "its directory has an impossible size"


@pytest.mark.parametrize("size", [1, 45, 46, 60])
def test_a_directory_that_ends_within_an_entry_is_refused(path, size):
    data = bytearray(unsealed(SMALL))
    struct.pack_into("<Q", data, len(data) - layout.END_SIZE + 40, size)
    assert damage(path, sealed(bytes(data)))


@pytest.mark.parametrize("size", [0, 2**32, 2**64 - 1])
def test_a_member_of_absurd_size_is_not_read(path, size):
    data = bytearray(unsealed(SMALL))
    entry = data.index(b"PK\1\2")
    struct.pack_into("<2Q", data, entry + 46 + len("users.copy.zst") + 4, size, size)
    assert "members" in damage(path, sealed(bytes(data)))


TRUE = manifest_of().record()


def edited(**changes):
    return json.dumps({**TRUE, **changes}, indent=2).encode() + b"\n"


def edited_table(**changes):
    return edited(tables=[TRUE["tables"][0], {**TRUE["tables"][1], **changes}])


def test_a_manifest_edited_without_resealing_is_noticed(path):
    data = SMALL.replace(b'"rows": 3', b'"rows": 4')
    assert damage(path, data) == "its bytes do not match its seal"


def test_a_manifest_edited_in_place_and_resealed_is_noticed(path):
    data = sealed(unsealed(SMALL).replace(b'"rows": 3', b'"rows": 4'))
    assert damage(path, data) == "manifest.json: its bytes do not match its checksum"


@pytest.mark.parametrize(
    "lie",
    [{"rows": 4}, {"rows": 2**63 - 1}, {"bytes": 14}, {"bytes": 16}, {"bytes": 0}, {"sha256": "0" * 64}],
)
def test_a_manifest_that_says_something_else_of_a_table_is_refused(path, lie):
    what = damage(path, forged_tables(FRAMES, claiming(**lie)))
    assert what.startswith("tasks.copy.zst: it ")
    assert what.endswith("its manifest says")


MANIFESTS = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"\xff\xfe",
    b'"\\ud800"',
    b"{" * 100_000,
    b"[" * 1_000_000,
    b'{"format":' * 90_000,
    b'{"format": 0}',
    b'{"format": -1}',
    b'{"format": true}',
    b'{"format": 1.0}',
    b'{"format": NaN}',
    b'{"format": 1e999}',
    b'{"format": ' + b"9" * 5000 + b"}",
    b'{"format": ' + b"9" * 50 + b"}",
    b'{"format": 1}',
    b'{"format": 2}',
    b"x" * (1 << 20),
    b" " * (1 << 20) + b" ",
    manifest_of().encode().rstrip(),
    manifest_of().encode() + b"\n",
    b"\xef\xbb\xbf" + manifest_of().encode(),
    manifest_of().encode().replace(b'"rows": 3', b'"rows": 9, "rows": 3'),
    manifest_of().encode().replace(b'"rows": 3', b'"rows": 3.0'),
    manifest_of().encode().replace(b'"rows": 3', b'"rows": 0x3'),
    json.dumps(TRUE).encode(),
    edited(surprise=1),
    edited(tool=1),
    edited(tool=""),
    edited(tool="x" * 1000),
    edited(label="two\nlines"),
    edited(label="\x1b[31m"),
    edited(label="\ud800"),
    edited(label=None),
    edited(engine=["sqlite"]),
    edited(revision={"a": {"b": []}}),
    edited(created_at=0),
    edited(created_at="yesterday"),
    edited(created_at="2026-11-22T12:30:00.000001"),
    edited(created_at="2026-11-22T12:30:00.000001+00:00"),
    edited(created_at="0001-01-01T00:00:00.000000+23:59"),
    edited(format=1),
    edited(identity="x"),
    edited(identity=TRUE["identity"].upper()),
    edited(identity=1),
    edited(place=None),
    edited(place=""),
    edited(place="two\nlines"),
    edited(place=["path"]),
    edited(tables=None),
    edited(tables={"users": {}}),
    edited(tables="users"),
    edited(tables=[1, 2]),
    edited(tables=[*TRUE["tables"], TRUE["tables"][0]]),
    edited_table(rows="3"),
    edited_table(rows=True),
    edited_table(rows=-1),
    edited_table(bytes=2**63),
    edited_table(bytes=10**400),
    edited_table(sha256="0" * 63),
    edited_table(sha256="A" * 64),
    edited_table(sha256=None),
    edited_table(surprise=1),
    edited_table(name="../tasks"),
    edited_table(columns=None),
    edited_table(columns=[]),
    edited_table(columns="id"),
    edited_table(columns=[["id", "integer"]]),
    edited_table(columns=[{"name": "id"}]),
    edited_table(columns=[{"name": "id", "type": []}]),
    edited_table(columns=[{"name": "id", "type": "bytea"}]),
    edited_table(columns=[{"name": "id; DROP TABLE users", "type": "integer"}]),
    edited_table(columns=[{"name": "id", "type": "integer", "extra": 1}]),
    edited_table(columns=[{"name": "id", "type": "integer"}] * 2),
]


@pytest.mark.parametrize("text", MANIFESTS, ids=range(len(MANIFESTS)))
def test_a_manifest_that_taskdb_would_not_write_is_refused(path, text):
    assert damage(path, forged_tables(FRAMES, text)).startswith("manifest.json: ")


def test_a_manifest_larger_than_any_is_not_read(path):
    text = manifest_of().encode() + b" " * MAX_BYTES
    assert damage(path, forged_tables(FRAMES, text)) == "manifest.json: it is larger than 1 MiB"


@pytest.mark.parametrize("text", [edited(format=3), b'{"format": 3, "all": "different"}'])
def test_a_newer_format_is_not_damage_but_needs_a_newer_taskdb(path, text):
    path.write_bytes(forged_tables(FRAMES, text))
    with pytest.raises(ArchiveTooNew, match=r"archive format 3, .* formats up to 2$") as refusal:
        verify(path)
    assert refusal.value.exit_code == ExitCode.SCHEMA
    assert "newer version of taskdb" in refusal.value.hint


HEADER = b"\x28\xb5\x2f\xfd\x04\x58"
"""The beginning of a zstd frame with a checksum and a window of 2 MiB."""


def compressed(text, **options):
    compressor = zstandard.ZstdCompressor(**options).compressobj()
    return compressor.compress(text) + compressor.flush()


def with_last_byte_changed(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def bomb(size):
    """Return a frame of `size` zeros in blocks of 128 KiB, each four bytes long."""
    block = (128 << 10) << 3 | 1 << 1
    return HEADER + (block.to_bytes(3, "little") + b"\0") * (size >> 17) + b"\1\0\0" + b"\0" * 4


WIDE = zstandard.ZstdCompressionParameters.from_level(3, window_log=24, write_checksum=True)
SKIPPABLE = b"\x50\x2a\x4d\x18\0\0\0\0"
GOOD = FRAMES["tasks"]
BODIES = {
    "nothing": (b"", "cannot be decompressed"),
    "no frame": (ROWS["tasks"], "cannot be decompressed"),
    "half a header": (GOOD[:5], "cannot be decompressed"),
    "no checksum behind": (GOOD[:-4], "ends too early"),
    "half a block": (GOOD[:-6], "ends too early"),
    "wrong checksum": (with_last_byte_changed(GOOD), "cannot be decompressed"),
    "a byte behind": (GOOD + b"\0", "does not end where its zstd frame ends"),
    "an empty frame behind": (GOOD + frame(b""), "does not end where its zstd frame ends"),
    "a skippable frame behind": (GOOD + SKIPPABLE, "does not end where its zstd frame ends"),
    "a skippable frame before": (SKIPPABLE + GOOD, "no checksum"),
    "two frames": (frame(b"1\tt\n") + frame(b"2\tf\n3\tf\n"), "does not end where its zstd frame ends"),
    "no rows": (frame(b""), "does not hold the rows"),
    "other rows": (frame(ROWS["tasks"].replace(b"t", b"f")), "does not hold the rows"),
    "rows twice": (frame(ROWS["tasks"] * 2), "holds more bytes"),
    "many bytes": (frame(b"x" * 10_000_000), "holds more bytes"),
    "many bytes, by level 19": (compressed(b"x" * 10**7, level=19, write_checksum=True), "holds more bytes"),
    "no checksum": (compressed(ROWS["tasks"]), "no checksum"),
    "wide window": (compressed(b"x", compression_params=WIDE), f"window of more than {MAX_WINDOW >> 20} MiB"),
    "reserved block": (HEADER + b"\7\0\0" + b"\0" * 9, "cannot be decompressed"),
    "huge block": (HEADER + b"\xfd\xff\xff" + b"\0" * 9, "cannot be decompressed"),
    "bomb": (bomb(1 << 30), "holds more bytes"),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_table_that_is_not_one_good_frame_is_refused(path, case):
    body, what = BODIES[case]
    assert what in damage(path, forged_tables({"users": FRAMES["users"], "tasks": body}))


def test_a_bomb_is_stopped_within_bounded_memory(path):
    path.write_bytes(forged_tables({"users": FRAMES["users"], "tasks": bomb(1 << 39)}))
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveCorrupt, match="holds more bytes"):
            verify(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_a_bomb_that_its_manifest_announces_is_read_in_pieces(path):
    size = 1 << 28
    manifest = claiming(rows=0, bytes=size)
    path.write_bytes(forged_tables({"users": FRAMES["users"], "tasks": bomb(size)}, manifest))
    with (
        Archive.open(file_at(path)) as archive,
        pytest.raises(ArchiveCorrupt, match="cannot be decompressed"),
    ):
        assert all(len(piece) <= 128 << 10 for piece in archive.chunks("tasks"))


def test_no_byte_too_many_reaches_the_reader(path):
    path.write_bytes(forged_tables({"users": FRAMES["users"], "tasks": frame(b"x" * 500_000)}))
    received = []
    with Archive.open(file_at(path)) as archive, pytest.raises(ArchiveCorrupt, match="holds more bytes"):
        received.extend(archive.chunks("tasks"))
    assert len(b"".join(received)) <= len(ROWS["tasks"])


def test_a_file_that_becomes_shorter_while_it_is_read_is_damaged(path):
    path.write_bytes(archive_bytes({"tasks": os.urandom(1_000_000)}))
    with Archive.open(file_at(path)) as archive:
        pieces = archive.chunks("tasks")
        next(pieces)
        os.truncate(path, 1000)
        with pytest.raises(ArchiveCorrupt, match="became shorter"):
            list(pieces)
