"""Detect the encoding of a file, or its kind if it is not a text with records."""

import codecs
import re

from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import FileFormat
from taskdb_cli.transfer.lines import CHUNK

KEEP_BYTES = "taskdb-keep-bytes"
"""The error handler that makes a lone surrogate of each byte that cannot be decoded, in every encoding."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNMARKED: dict[tuple[bool, ...], str] = {
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
}
"""Which of four bytes are zero in text that is mostly ASCII."""

_AS_CSV = "save it as CSV"
_UNPACK = "unpack it first"
_OTHERS = (
    (rb"PK\x03\x04.{26}[^/]{1,80}\.copy\.zst", "an archive of taskdb", "'taskdb restore' reads it"),
    (rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis\.", "an OpenDocument file", _AS_CSV),
    (
        rb"PK\x03\x04.*?PK\x03\x04.{26}xl/|PK\x03\x04.{26}(?:xl/|\[Content_Types\])",
        "an Excel workbook",
        _AS_CSV,
    ),
    (
        rb"PK(?:\x03\x04|\x05\x06|\x07\x08)",
        "a ZIP file",
        "save it as CSV if it is a spreadsheet, or unpack it first",
    ),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Office file", _AS_CSV),
    (rb"\x1f\x8b", "compressed by gzip", "unpack it first, with gunzip"),
    (rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)", "compressed by bzip2", "unpack it first, with bunzip2"),
    (rb"\xfd7zXZ\x00", "compressed by xz", "unpack it first, with unxz"),
    (rb"[\x50-\x5f]\x2a\x4d\x18|\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it first, with unzstd"),
    (rb"\x04\x22\x4d\x18", "compressed by lz4", _UNPACK),
    (rb"\x1f[\x9d\xa0]", "compressed", _UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (rb"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (rb".{257}ustar(?:  )?\x00", "a tar archive", _UNPACK),
    (rb"\s*%PDF-\d\.\d\s*[\r\n]", "a PDF", "save the table as CSV"),
    (rb"SQLite format 3\x00", "a SQLite database", "export its table as CSV or JSON"),
    (
        rb"PGDMP\x01|-- ?\r?\n-- PostgreSQL database (?:cluster )?dump",
        "a dump of PostgreSQL",
        "export its table as CSV",
    ),
    (rb"PAR1\x15", "a Parquet file", _AS_CSV),
    (rb"\{\\rtf1?\s*\\[a-z]", "an RTF document", _AS_CSV),
)
_MOST_ZEROS = 16
"""How many zero bytes the beginning of a text in UTF-8 may have."""
_HTML = re.compile(
    # Another tag follows: a task may be called "<body> needs a class".
    r"<(?:!doctype\s+html|html|head|body|meta|table|div|script|style)\b[^>]*>\s*(?:<|$)",
    re.IGNORECASE,
)
_XML = re.compile(r"<(?:\?xml|!--|!doctype|[a-z][\w:.-]*[\s>/])", re.IGNORECASE)
_JSON = re.compile(r'\[\s*\{|\{\s*"')


def _keep_bytes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(KEEP_BYTES, _keep_bytes)


def find_encoding(head: bytes, name: str, given: str | None) -> str:
    """Return the encoding of a file that begins like this: that of its mark, or what was `given`, or UTF-8.

    Raises InvalidInput for a file that is of another kind, whatever was given.
    """
    for pattern, what, hint in _OTHERS:
        if re.match(pattern, head, re.DOTALL):
            raise InvalidInput(f"{name} is {what}", hint)
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    needs_mark = given in ("utf-16", "utf-32")
    if given and not (needs_mark and head):
        return given
    zeros = tuple(2 * head[first::4].count(0) > len(head) // 4 for first in range(4))
    if unmarked := _UNMARKED.get(zeros):
        raise InvalidInput(
            f"{name} is not UTF-8, but {unmarked.upper()} without a mark", f"add --encoding {unmarked}"
        )
    if given:
        raise InvalidInput(f"{name} is not {given.upper()}: it has no mark", "leave --encoding out")
    if _is_binary(head[:1024]):
        raise InvalidInput(f"{name} is binary data, not text", "save it as CSV, or add --encoding")
    return "utf-8-sig"


def _is_binary(head: bytes) -> bool:
    if head[:4].count(0):
        return True
    controls = sum(head.count(code) for code in (*range(9), *range(14, 27), *range(28, 32)))
    if 20 * controls <= len(head):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return True
    return head.count(0) > _MOST_ZEROS


def decode_head(head: bytes, encoding: str) -> str:
    """Return the first characters of a file, without blanks before them."""
    whole = len(head) < CHUNK
    return codecs.getincrementaldecoder(encoding)(KEEP_BYTES).decode(head, whole).lstrip("\ufeff \t\r\n\f\v")


def refuse_other_text(beginning: str, name: str, format: FileFormat) -> None:
    """Raise InvalidInput for HTML, for XML in place of CSV or JSON, and for JSON in place of CSV."""
    ours = format in (FileFormat.CSV, FileFormat.JSON, FileFormat.NDJSON)
    if _HTML.match(beginning):
        hint = "save the table as CSV; a login page may have been downloaded in place of the file"
        raise InvalidInput(f"{name} is HTML", hint)
    if ours and _XML.match(beginning):
        raise InvalidInput(f"{name} is XML", "export it as CSV or JSON")
    if format is FileFormat.CSV and _JSON.match(beginning):
        raise InvalidInput(f"{name} is JSON, not CSV", "name another format with --from")
