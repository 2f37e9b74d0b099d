"""What a file is read as: its delimiter, its encoding, its names, and what it is instead of records."""

import bz2
import codecs
import gzip
import io
import lzma
import random
import tarfile
import zipfile
from contextlib import suppress
from encodings.aliases import aliases

import pytest

from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import TASK_FIELDS, FileFormat
from taskdb_cli.transfer.files import Source
from taskdb_cli.transfer.options import ReadOptions

CSV, JSON, NDJSON = FileFormat.CSV, FileFormat.JSON, FileFormat.NDJSON


def records(content, format=None, *, name="tasks.csv", required=("title",), left_out=None, **options):
    """Return the values of the records of a file, or what is wrong with them."""
    data = content.encode() if isinstance(content, str) else content
    source = Source.open(io.BytesIO(data), name, format, ReadOptions(**options))
    found = [values for _, values in source.records(TASK_FIELDS, required)]
    if left_out is not None:
        assert [*source.left_out] == left_out
    return found


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "header", ["title{0}status", '"title"{0}"status"', '\ufeff"title"{0}status', "sep={0}\r\ntitle{0}status"]
)
def test_a_delimiter_is_found(header, delimiter):
    """A comma, semicolon, tab or | between the names of the columns is found by itself."""
    text = header.format(delimiter) + f'\r\n"a,b;c\td|e"{delimiter}todo\r\n'
    assert records(text) == [{"title": "a,b;c\td|e", "status": "todo"}]
    assert records(text, delimiter="tab" if delimiter == "\t" else delimiter)[0]["status"] == "todo"


@pytest.mark.parametrize(
    ("header", "options"),
    [
        ("title,status", {}),
        ('title,"x;status;priority;due_at"', {"ignore_unknown": True}),
        ("title,a|status|priority|b", {"map": ["a|status|priority|b=status"]}),
        ('"a;b",title', {"map": ["a;b=description"]}),
    ],
)
def test_a_comma_stays_the_delimiter(header, options):
    """A file with commas is read so, whatever else stands in its header and cells."""
    assert [each["title"][:1] for each in records(f"{header}\na;b;c,a|b|c\n", **options)] == ["a"]


def test_names_are_mapped():
    """Columns and fields are named by --map exactly, or else without regard to case and blanks."""
    text = "Task name, STATE ,Task  Name\na,todo,x\n"
    options = {"map": ["Task name=title", "state=status"], "ignore_unknown": True}
    assert records(text, left_out=["Task  Name"], **options) == [{"title": "a", "status": "todo"}]
    lines = '{"Task name":"a","n":1}\n{"title":"b","m":2}\n{"title":"c","Task name":"d"}\n'
    options = {"map": ["Task name=title"], "ignore_unknown": True, "name": "t.ndjson"}
    *good, both = records(lines, left_out=["n", "m"], **options)
    assert good == [{"title": "a"}, {"title": "b"}]
    assert "two fields for title" in both


def test_all_faults_of_a_header_are_told():
    """Unknown, nameless, doubled, absent and missing columns are told at once, and that reading stops."""
    [faults] = records(
        "staus,status,status,,Name,x\n1,2\n",
        required=("user", "title"),
        map=["Name=status", "Gone=due_at"],
    )
    words = ("did you mean 'status'", "for column 4", "twice", "two columns for status", "'Gone' (--map)")
    for fault, word in zip(
        faults, [*words, "'user' (add --user) and a column 'title'", "from line 2 on"], strict=True
    ):
        assert word in fault


def test_a_wide_header_costs_linear_time():
    """Of very many columns that are unknown a few are named and the others counted."""
    names = ",".join(map(str, range(100_000)))
    [faults] = records(f"{names},x,x\n")
    assert "99,994 more" in faults[0]
    assert len(faults[0]) < 500
    [row] = records(f"{names},title\n{names},a\n", ignore_unknown=True)
    assert row == {"title": "a"}


@pytest.mark.parametrize(
    ("encoding", "given"),
    [
        ("utf-8-sig", None),
        ("utf-16", None),
        ("utf-32", None),
        ("utf-16-be", "UTF-16BE"),
        ("utf-32-le", "utf-32-le"),
        ("cp1252", "windows-1252"),
        ("shift_jis", "Shift-JIS"),
        ("utf-8-sig", "windows-1252"),
    ],
)
@pytest.mark.parametrize("format", [CSV, JSON, NDJSON])
def test_encodings(format, encoding, given):
    """A file of any format is read in the encoding of its mark, or in the one that is named."""
    title = "é" if encoding == "cp1252" else "ｱ、表"
    text = {CSV: f"title\r\n{title}\r\n", JSON: f'[{{"title":"{title}"}}]', NDJSON: f'{{"title":"{title}"}}'}
    for named in (format, None):
        assert records(text[format].encode(encoding), named, encoding=given, name="t") == [{"title": title}]


@pytest.mark.parametrize(
    ("data", "encoding", "fault"),
    [
        (b"title\r\nfine\r\ncaf\xe9\r\n", None, "byte 0xE9 at character 4 of line 3 is not UTF-8 (if"),
        (b"title\na\n\x81\n", "windows-1252", "byte 0x81 at character 1 of line 3 is not cp1252"),
        ("title\na\nb".encode("utf-16") + b"x", None, "byte 0x78 at character 2 of line 3 is not utf-16"),
        ("title\na\n".encode("utf-16-le") + b"\0\xd8b\0", "utf-16-le", "byte 0x00 at character 1 of line 3"),
        (b'{"title":"a"}\n{"title":"\xe9"}', None, "byte 0xE9 at character 11 of line 2 is not UTF-8 (if"),
        (
            b'[{"title":"a"},\n{"title":\n"\xe9"}]',
            None,
            "byte 0xE9 at character 2 of line 3 is not UTF-8 (if",
        ),
        (b'[{"title":"a"},\xe9{}]', None, "byte 0xE9 at character 16 of line 1 is not UTF-8 (if"),
    ],
)
def test_bytes_of_another_encoding(data, encoding, fault):
    """A byte that is not of the encoding is told with its line and place; the other records are read."""
    good, bad = records(data, encoding=encoding, name="t")
    assert good["title"] in ("fine", "a")
    assert bad.startswith(fault)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_an_encoding_that_needs_a_mark(encoding):
    """A file without a mark is refused as a whole; the likely encoding is named if its bytes tell it."""
    for data, hint in ((b"title\na\n", "leave"), ("title\na\n".encode(f"{encoding}-be"), f"{encoding}-be")):
        with pytest.raises(InvalidInput, match="mark") as raised:
            records(data, encoding=encoding)
        assert hint in raised.value.hint
    with pytest.raises(InvalidInput, match="is empty"):
        records(b"", encoding=encoding)


@pytest.mark.parametrize(
    "data",
    [
        b"title\nabc",
        "title\ncaf\u00e9 \U0001f600\n".encode(),
        b"title\n\x1b$B\n~{<:\n+2AAA3Q-\x1b$",
        bytes(random.Random(1).choices(range(256), k=500)),
    ],
    ids=["ascii", "utf-8", "escapes", "random"],
)  # fmt: skip
def test_any_encoding_of_any_bytes(data):
    """Whatever encoding is named, a file ends in records or in an error of ours."""
    for encoding in {*aliases.values(), "utf-8-sig"}:
        for format in (CSV, NDJSON, FileFormat.TODOTXT):
            with suppress(InvalidInput):
                assert records(data, format, encoding=encoding)


def zipped(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "application/vnd.oasis.opendocument.spreadsheet")
    return file.getvalue()


OTHERS = {
    "Excel": zipped("docProps/app.xml", "xl/workbook.xml"),
    "OpenDocument": zipped("mimetype"),
    "archive of taskdb": zipped("users.copy.zst"),
    "ZIP": zipped("tasks.csv"),
    "old Excel": bytes.fromhex("d0cf11e0a1b11ae1") + bytes(500),
    "gzip": gzip.compress(b"title\na\n"),
    "bzip2": bz2.compress(b"title\na\n"),
    "xz": lzma.compress(b"title\na\n"),
    "zstd": bytes.fromhex("28b52ffd2408410000"),
    "tar": tarfile.TarInfo("tasks.csv").tobuf(tarfile.GNU_FORMAT),
    "tar ": tarfile.TarInfo("tasks.csv").tobuf(tarfile.PAX_FORMAT),
    "Parquet": b"PAR1\x15\x04\x15",
    "PostgreSQL": b"PGDMP\x01\x0f\x00",
    "PDF": b"%PDF-1.7\n",
    "RTF": rb"{\rtf1\ansi",
    "dump": b"--\n-- PostgreSQL database dump\n--\n",
    "SQLite": b"SQLite format 3\0" + bytes(500),
    "HTML": b"\n <!DOCTYPE html>\n<html>",
    "HTML ": "<html>".encode("utf-16"),
    "XML": b'\xef\xbb\xbf<?xml version="1.0"?>\n',
    "UTF-16-LE": "title,status\na,b\n".encode("utf-16-le"),
    "UTF-16-BE": "[]".encode("utf-16-be"),
    "UTF-32-LE": "title".encode("utf-32-le"),
    "binary": bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"),
    "empty": b"",
    "empty ": b" \r\n\n",
    "empty  ": codecs.BOM_UTF8,
}


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("format", [None, CSV, JSON])
def test_what_a_file_is_instead(what, format):
    """A file without records is refused as a whole, and what it is instead is said."""
    with pytest.raises(InvalidInput, match=rf"^tasks\.csv is .*\b{what.strip()}\b") as raised:
        records(OTHERS[what], format)
    assert raised.value.hint


@pytest.mark.parametrize(
    "text",
    [
        *("title\n\0\n\1\n\2\n", "title\nè\n", "title\n" + "\0\n" * 5),
        *("title\n" + 251 * "x" + "ustard\n", "PAR1,title\na,b\n", "PGDMP;title\na;b\n"),
        *("PAR1é,title\na,b\n", "%PDF-1.7 is it,title\na,b\n", "{\\rtf,title\na,b\n"),
    ],
)
def test_text_is_not_binary(text):
    """Neither control characters in cells nor a word with which other files begin make a text binary."""
    assert len(records(text)) == text.count("\n") - 1


@pytest.mark.parametrize(
    "begin", ["ustar", "PAR1", "PGDMP", "7z", "Rar!", "BZh9", "PK", "%PDF-1.7", "{\\rtf", "<?xml", "<body>"]
)
def test_tasks_called_like_other_files(begin):
    """A task may have a title with which files of another kind begin, or that is where tar's name is."""
    for text in (f"{begin} is my first task", 252 * "a" + f"must{begin} and more", 257 * "a" + f"{begin} b"):
        assert len(records(text.encode(), FileFormat.TODOTXT)) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"delimiter": ""}, "delimiter"),
        ({"delimiter": "::"}, "delimiter"),
        ({"delimiter": '"'}, "delimiter"),
        ({"delimiter": ";", "name": "t.ndjson"}, "--delimiter is for CSV"),
        ({"encoding": "windows-1525"}, "no encoding"),
        ({"encoding": "\udcff"}, "no encoding"),
        ({"encoding": "base64"}, "not an encoding of text"),
        ({"encoding": "rot13"}, "not an encoding of text"),
        ({"encoding": "idna"}, "not an encoding of text"),
        ({"map": ["title"]}, "COLUMN=FIELD"),
        ({"map": ["=title"]}, "COLUMN=FIELD"),
        ({"map": ["a=titel"]}, "did you mean 'title'"),
        ({"map": ["a=title", "b=title"]}, "two columns"),
        ({"map": ["a=title", "a=status"]}, "twice"),
        ({"map": ["a=title"], "name": "t.ndjson"}, "no record has a field 'a'"),
        ({"map": ["a=title"], "name": "t", "format": FileFormat.TASKWARRIOR}, "--map is for CSV"),
    ],
)
def test_options_of_no_use(options, said):
    """An option whose value cannot be used, or that does not fit the file, is refused."""
    text = "title\n" if options.get("name") is None else '{"title":"x"}\n'
    with pytest.raises(InvalidInput, match=said):
        records(text, **options)
