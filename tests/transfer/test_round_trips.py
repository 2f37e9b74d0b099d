"""Exports that are imported into another database and exported again: the same bytes, whatever is in them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from sqlalchemy import URL

from tests.backup.test_round_trip import FIRST, LAST
from tests.conftest import NOW, SERVERS, TaskdbCommand
from tests.contents import put_rows
from tests.forked import SOAK

USERS = 40
TASKS = 2000
ENGINES = ("sqlite", SERVERS[-1])
# No format knows the engine.
WAYS = (
    [(*way, format) for way in (ENGINES, ENGINES[::-1]) for format in ("csv", "json", "ndjson")]
    if SOAK
    else [(*ENGINES, "csv"), (*ENGINES[::-1], "json"), (*ENGINES, "ndjson")]
)

PIECES = (
    *('"', '""', "'", ",", ";", "|", "\\", r"\N", r"\n", "%s", "{}", "<b>", "[red]", "--", "/*", "~"),
    *("=1+1", "+1", "-1", "@SUM(A1)", "\uff1d1", "sep=;", "#", "title", "NULL", "null", "true", "NaN"),
    *("\U0001f469\u200d\U0001f4bb", "\U0001f1e8\U0001f1ed", "\u202eright\u202c", "שלום", "\u0627", "日本語"),
    *("e\u0301\u0323", "é", "ß", "\u212b", "\ufeff", "\u200b", "\u00a0", "\u3000", "\u3164", "\u00ad"),
    *("\u2028", "\u2029", "\U0010ffff", "\ufffd", "\ue000", "  ", " x ", "Ω" * 40),
)
"""What a text on one line is made of."""
BREAKS = ("\n", "\r\n", "\r", "\n\n", "\t", "\n\\.\n", '"\n"', ",\r\n,", "\r\r\n")
"""What a description may hold as well."""
EXTERNAL_IDS = (
    *("0", "007", "-1", "+1", "1e5", "1.0", "9" * 30, "0x1F", "2026-12-01", "2026-12-01T17:00:00Z", "12:30"),
    *("true", "false", "null", "NULL", "None", "NaN", "-", ",", '"', "'1", "=1", "d41d8cd98f00b204e9800998"),
    *("sha256:0a1b", "#42", "https://example.com/?a=1&b=2", " 1 ", "\ufeff1", "x" * 200, "\U0001f600" * 200),
)
MOMENTS = (FIRST, LAST, NOW, NOW.replace(microsecond=0), NOW.replace(microsecond=100_000))
MOMENTS += (datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), datetime(2024, 2, 29, tzinfo=UTC))
LONGEST = {"name": 200, "title": 500, "description": 20_000}


class Rows:
    """Rows that are the same in each run, with ids and versions as an import gives them."""

    def __init__(self) -> None:
        self._random = Random(16)

    def text(self, longest: int, pieces: tuple[str, ...] = PIECES) -> str:
        """Return a text that is not blank, now and then one of the greatest length."""
        if self._random.random() < 0.01:
            return (self._random.choice(pieces) * longest)[: longest - 1] + "x"
        some = self._random.choices(pieces, k=self._random.randint(1, 6))
        return self._random.choice(("x", "")).join([*some, self._random.choice(("", "x", " x", "x "))]) + "x"

    def moment(self) -> datetime:
        """Return one of the awkward times, or any."""
        if self._random.random() < 0.5:
            return self._random.choice(MOMENTS)
        return FIRST + timedelta(microseconds=self._random.randrange((LAST - FIRST) // timedelta.resolution))

    def users(self) -> list[tuple]:
        """Return users, most of whom have an address that CSV must quote or a spreadsheet would run."""
        local = ("ann", "o'brien", "=1", "a+b", "josé", "日本", "{a}", "|x|", "#1", "%s", "a/b", "~")
        return [
            (
                number,
                f"{local[number % len(local)]}{number}@example.com",
                self.text(200),
                number % 3 > 0,
                1,
                self.moment(),
                self.moment(),
            )
            for number in range(1, USERS + 1)
        ]

    def tasks(self) -> list[tuple]:
        """Return tasks of all statuses and priorities; some have each of the external ids."""
        return [self._task(number) for number in range(1, TASKS + 1)]

    def _task(self, number: int) -> tuple:
        owner, turn = 1 + number % USERS, (number - 1) // USERS
        external_id = EXTERNAL_IDS[turn] if turn < len(EXTERNAL_IDS) else None
        status = ("todo", "in_progress", "done", "cancelled")[self._random.randrange(4)]
        description = self._random.choice((None, self.text(20_000), self.text(20_000, (*PIECES, *BREAKS))))
        return (
            *(number, owner, external_id, self.text(500), description, status, self._random.randint(1, 4)),
            self._random.choice((None, self.moment())),
            self.moment() if status == "done" else None,
            *(1, self.moment(), self.moment()),
        )


@pytest.mark.parametrize(("origin", "target", "format"), WAYS)
def test_rows_come_out_as_they_went_in(bare_taskdb, make_url_of, origin, target, format):
    """Out of one engine, through the other, and on to another database of that: every byte stays the same.

    These are also the ids, stamps and versions, which an import into an empty database gives alike.
    """
    rows = Rows()
    source = make_url_of(origin)
    put_rows(source, {"users": rows.users(), "tasks": rows.tasks()})
    exported = {noun: export(bare_taskdb, source, noun, format) for noun in ("user", "task")}
    # Whether the format is named or found.
    for name in (format, "auto"):
        url = make_url_of(target)
        for noun, text in exported.items():
            bring_in(bare_taskdb, url, noun, text, "--from", name)
        assert {noun: export(bare_taskdb, url, noun, format) for noun in exported} == exported
    again = [bring_in(bare_taskdb, url, noun, text, "--dry-run") for noun, text in exported.items()]
    unnamed = TASKS - USERS * len(EXTERNAL_IDS)
    assert again == [
        {"created": 0, "updated": 0, "unchanged": USERS},
        {"created": unnamed, "updated": 0, "unchanged": TASKS - unnamed},
    ]


def export(taskdb: TaskdbCommand, url: URL, noun: str, format: str) -> str:
    """Return all users or tasks of a database."""
    return taskdb("--database-url", plain(url), noun, "export", "-o", format).out


def bring_in(taskdb: TaskdbCommand, url: URL, noun: str, text: str, *options: str) -> dict[str, int]:
    """Import users or tasks, and return how many were created, updated or unchanged."""
    words = ("--database-url", plain(url), noun, "import", "-", *options, "-o", "json")
    return json.loads(taskdb(*words, stdin=text).out)


def plain(url: URL) -> str:
    return url.render_as_string(hide_password=False)
