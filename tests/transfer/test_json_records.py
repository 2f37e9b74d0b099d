"""JSON that is none: where it is told, and what is read behind it."""

import io
import json
import tracemalloc

import pytest

from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import FileFormat
from taskdb_cli.transfer import json_records
from taskdb_cli.transfer.json_records import _Array, read_array, read_objects
from taskdb_cli.transfer.lines import LONGEST_RECORD
from tests.transfer.test_files import read

GOOD = '{"title":"a"}'
REST = "the rest of the file, from line 2 on, was not read"
DIGITS, DEEP, LONG = 5000 * "9", 3000 * "[" + 3000 * "]", 2 * LONGEST_RECORD * "x"

BROKEN = {
    '{"a":NaN}': "NaN",
    '{"a":[Infinity]}': "Infinity",
    '{"a":-Infinity}': "-Infinity",
    '{"a":1e999}': "1e999",
    f'{{"a":{DIGITS}}}': "digits",
    '{"a":1,"b":2,"a":3}': "names a twice",
    '{"a":{"b":1,"b":2}}': "names b twice",
    f'{{"a":{DEEP}}}': "nested too deeply",
    f'{{"a":{100 * "["}{100 * "]"}}}': "nested too deeply",
    '{"a":1,}': "a comma before }",
    '{"a":[1,]}': "a comma before ]",
    "{'a':1}": "' in place of",
    '{"a":1 "b":2}': "without a comma",
    '{"a" "b"}': "without a colon",
    "{'a':'}'}": "' in place of",
    '{"a":"\\"},{","b":NaN}': "NaN",
    "{a:1}": "a without quotes",
    '{"a":True}': "True without quotes",
    '{"a":1 /* b */}': "a comment",
    '{"a":"b\tc"}': "U+0009",
    '{"a":"\\x"}': "escape",
    '{"a":"\\u12"}': "escape",
    "\ufeff{}": "U+FEFF",
    '{"a":01}': "unexpected '1'",
    '{"a":1]': "unexpected ']'",
    "5": "is not a JSON object, but the number 5",
    "null": "is not a JSON object, but null",
    f'{{"a":"{LONG}"}}': "is longer than",
}


def told(found):
    """Return the numbers of good records, and the problems by number."""
    records = list(found)
    problems = [(number, record) for number, record in records if isinstance(record, str)]
    return [number for number, record in records if isinstance(record, dict)], problems


@pytest.mark.parametrize("broken", BROKEN, ids=lambda text: text[:20])
def test_reading_goes_on_behind_a_broken_record(broken):
    """What is not JSON is told once, in our words, and the records around it are read."""
    good, [(number, reason)] = told(read_array(io.StringIO(f"[{GOOD},\n{broken}\n,{GOOD}]")))
    assert (good, number) == ([1, 3], 2)
    assert BROKEN[broken] in reason
    good, [(number, reason)] = told(read_objects(io.StringIO(f"{GOOD}\n{broken}\n\n{GOOD}"), separator=""))
    assert (good, number) == ([1, 4], 2)
    assert BROKEN[broken] in reason


@pytest.mark.parametrize(
    ("text", "good", "problem"),
    [
        (f"[{GOOD},\n{GOOD},\n]", [1, 2], (2, "is followed by a comma")),
        (f"[{GOOD},,{GOOD}]", [1, 3], (2, "is missing")),
        (f"[{GOOD}\n{GOOD}]", [1, 2], (1, "is not followed by a comma")),
        (f"[{GOOD}}},{GOOD}]", [1, 2], (1, "is not followed by a comma")),
        (f"[{GOOD},// one\n{GOOD}]", [1], (2, "a comment at line 1, character 16")),
        (f'[{GOOD},\n\n{{"a":\n1,}},{GOOD}]', [1, 3], (2, "a comma before } at line 4, character 3")),
        (f'[{GOOD},\n{{"a":1,\n{GOOD},\n{GOOD}]', [1], (2, REST)),
        (
            f'[{GOOD},\n{{"a":"b,\n{GOOD},\n{GOOD}]',
            [1],
            (2, REST),
        ),
        (f"[{GOOD},\n[[{GOOD},{GOOD}]", [1], (2, "is cut off")),
        (f"[{GOOD}]\n[{GOOD}]", [1], (1, REST)),
    ],
)
def test_a_broken_array(text, good, problem):
    """A fault between records is told at its place. If a record has no end, the rest is told as not read."""
    found, [(number, reason)] = told(read_array(io.StringIO(text)))
    assert (found, number) == (good, problem[0])
    assert problem[1] in reason


@pytest.mark.parametrize(
    "record",
    [
        "[", "x,", '{"a":1,},', '{"a":1} ', '"', "}", ",", "1", "\\", '"\\', "\n",
        f'{{"{1000 * "x"}":[{{"a":1}}]]}},', f'{{"a":"{2000 * "x"}"]}},',
    ],
    ids=lambda text: text[:10],
)  # fmt: skip
def test_hostile_arrays_take_linear_work(record, monkeypatch):
    """Four times as much of anything lets the parser, the search and the buffer touch four times as much."""
    work = 0

    class Counting:
        def __init__(self, real):
            self.real = real

        def raw_decode(self, text, at=0):
            nonlocal work
            try:
                value, end = self.real.raw_decode(text, at)
            except (json.JSONDecodeError, RecursionError) as exc:
                # Python counts the lines before an error.
                work += getattr(exc, "pos", 0) + len(text) - at
                raise
            work += end - at
            return value, end

        def search(self, text, at):
            nonlocal work
            found = self.real.search(text, at)
            work += (found.end() if found else len(text)) - at
            return found

    def forget(array, real=_Array._forget):
        nonlocal work
        work += len(array._buffer)
        real(array)

    for name in ("_JSON", "_MARK", "_MARK_IN_TEXT"):
        monkeypatch.setattr(json_records, name, Counting(getattr(json_records, name)))
    monkeypatch.setattr(_Array, "_forget", forget)
    for name, size in {"CHUNK": 512, "_FAR": 32, "LONGEST_RECORD": 2048}.items():
        monkeypatch.setattr(json_records, name, size)

    def worked(size):
        nonlocal work
        work = 0
        assert sum(1 for _ in read_array(io.StringIO("[" + record * (size // len(record))))) > 0
        return work

    assert worked(60_000) < 6 * worked(15_000)


def test_an_object_of_many_keys():
    """A record with any number of unknown fields is refused at once."""
    many = "{" + ",".join(f'"k{number}":1' for number in range(300_000)) + "}"
    rows, [problem] = read(f"{GOOD}\n{many}\n", FileFormat.NDJSON)
    assert len(rows) == 1
    assert len(problem) < 500
    assert "300000 fields" in problem


def test_a_file_named_json():
    """Lines of JSON are read from it although the first is broken, and one object over lines is refused."""
    rows, [problem] = read('{"a":NaN}\n' + GOOD)
    assert len(rows) == 1
    assert "NaN" in problem
    with pytest.raises(InvalidInput, match="not a JSON array"):
        read('{\n"title":"a"\n}\n')


def test_a_long_record_is_passed_at_constant_memory():
    """A record of any length is not kept in memory while its end is looked for."""

    class Endless(io.TextIOBase):
        parts = iter(["[", '{"a":"', *(200 * ["x" * 100_000]), '"},', GOOD, "]"])

        def read(self, _):
            return next(self.parts, "")

    tracemalloc.start()
    good, [(number, _)] = told(read_array(Endless()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (good, number) == ([2], 1)
    assert peak < 6 * LONGEST_RECORD
