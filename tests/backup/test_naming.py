"""How archives are named: by the beginning of a name, with or without the label, or by a time."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from taskdb_cli.backup.entry import Entry
from taskdb_cli.backup.file_names import archive_name
from taskdb_cli.backup.naming import begins, matching, nearest, short_names

FIRST, SECOND, LATER = (datetime(2026, 11, day, 23, 30, 15, day, tzinfo=UTC) for day in (24, 25, 26))


def entry(label, at, *, encrypted=False):
    return Entry(Path("/backups") / archive_name(label, at, encrypted=encrypted), label, at, 1)


OWN = [entry("app-3d0c7b", at) for at in (FIRST, SECOND, LATER)]
SAFETY = entry("app-3d0c7b-before-restore", LATER + timedelta(minutes=5))
OTHER = entry("app-9f1234", LATER)
EVERYTHING = [*OWN, SAFETY, OTHER]


def named(word, span=None, own=OWN):
    return matching(word, span, own=own, labels={"app-3d0c7b"}, everything=EVERYTHING)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("20261124", OWN[:1]),
        ("20261125T2330", OWN[1:2]),
        ("app-3d0c7b-20261126", OWN[2:]),
        ("3d0c7b-20261126", OWN[2:]),
        (OWN[0].name, OWN[:1]),
        (OWN[0].name.removesuffix(".taskdb.zip"), OWN[:1]),
        ("2026", OWN),
        ("app", OWN),
        ("before", [SAFETY]),
        ("app-3d0c7b-before-restore-20261126", [SAFETY]),
        ("app-9f", [OTHER]),
        ("9f1234-20261126T2330", [OTHER]),
        ("20261127", []),
        ("6T2330", []),
    ],
)
def test_the_beginning_of_a_name(word, expected):
    """A word is the beginning of a name, or of what is behind a hyphen; own archives count first."""
    assert named(word) == expected


def test_the_time_alone_never_means_another_label():
    """Without own archives of that time, another label must be typed."""
    assert named("20261126", own=[]) == OWN[2:]
    assert matching("20261126", None, own=[], labels={"work"}, everything=EVERYTHING) == []
    assert matching("app", None, own=[], labels={"work"}, everything=EVERYTHING) == EVERYTHING


def test_a_time_means_own_archives_only():
    """A span of time finds archives of the database, from its first moment to before its last."""
    assert named("x", (LATER, LATER + timedelta(seconds=1))) == OWN[2:]
    assert named("x", (LATER - timedelta(seconds=1), LATER)) == []
    assert named("x", (LATER, LATER + timedelta(seconds=1)), own=[]) == []
    # The beginning of a name goes before a time.
    assert named("20261124", (LATER, LATER + timedelta(seconds=1))) == OWN[:1]


@pytest.mark.parametrize(
    ("entries", "label", "common", "names"),
    [
        (OWN[:2], "app-3d0c7b", "app-3d0c7b-", ["20261124T2330", "20261125T2330"]),
        ([OWN[2], SAFETY], "app-3d0c7b", "app-3d0c7b-", ["20261126T2330", "before-restore-20261126T2335"]),
        ([OWN[2], OTHER], "app-3d0c7b", "app-", ["3d0c7b-20261126T2330", "9f1234-20261126T2330"]),
        ([OTHER], "app-3d0c7b", "app-", ["9f1234-20261126T2330"]),
        ([OTHER], "work", "", ["app-9f1234-20261126T2330"]),
        ([OTHER], "", "", ["app-9f1234-20261126T2330"]),
        (
            [OTHER, entry("app-9f1234", LATER + timedelta(seconds=1))],
            "app-9f1234",
            "app-9f1234-",
            ["20261126T233015", "20261126T233016"],
        ),
        (
            [OTHER, entry("app-9f1234", LATER + timedelta(microseconds=1))],
            "app-9f1234",
            "app-9f1234-",
            ["20261126T233015.000026Z", "20261126T233015.000027Z"],
        ),
        (
            [entry("work", SECOND), entry("work", LATER, encrypted=True)],
            "work",
            "work-",
            ["20261125T2330", "20261126T2330"],
        ),
        ([], "work", "work-", []),
    ],
)
def test_short_names(entries, label, common, names):
    """What all names begin with is left out, up to a hyphen, and each rest names its archive."""
    assert short_names([each.name for each in entries], label) == (common, names)
    for each, name in zip(entries, names, strict=True):
        assert [other for other in entries if begins(other, name)] == [each]


@pytest.mark.parametrize(
    ("word", "span", "first"),
    [
        ("app-9f1235", None, OTHER),
        ("3d0c7b-20261127", None, OWN[2]),
        ("x", (SECOND, SECOND), OWN[1]),
        ("2026-11-01", (FIRST - timedelta(days=23), FIRST), OWN[0]),
    ],
)
def test_the_nearest(word, span, first):
    """Of a word that fits nothing, the most similar names are told, and of a time the nearest in time."""
    assert nearest(word, span, EVERYTHING)[0] == first.name
    assert nearest(word, span, []) == []
