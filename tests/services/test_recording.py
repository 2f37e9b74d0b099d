"""The history that writing leaves, whoever writes."""

import pwd

import pytest

from tests.operations import operations
from tests.samples import add_user


@pytest.mark.parametrize(
    ("name", "actor"),
    [
        ("ann", "ann"),
        ("CORP\\ann lee", "CORP\\ann lee"),
        ("a\nb\x00\u202e\x1b", "a\\nb\\x00\\u202e\\x1b"),
        ("\udcff", "\\udcff"),
        ("n" * 300, "n" * 199 + "…"),
        ("", "4711"),
        (" \u200b", "4711"),
        (None, "4711"),
    ],
)
def test_any_user_of_the_system(database, monkeypatch, name, actor):
    """Whatever the system calls its user, the history has a name for them."""

    class Account:
        pw_name = name

    def look_up(_):
        if name is None:
            raise KeyError
        return Account

    monkeypatch.setattr("os.geteuid", lambda: 4711)
    monkeypatch.setattr(pwd, "getpwuid", look_up)
    add_user(database)
    assert [each.actor for each in operations(database)] == [actor]
