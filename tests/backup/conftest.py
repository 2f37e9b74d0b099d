"""What several tests of backups need."""

import functools

import pytest

from tests.backups import break_call, empty_directory


@pytest.fixture
def directory(tmp_path):
    """A backup directory that exists."""
    return empty_directory(tmp_path)


@pytest.fixture
def broken(monkeypatch):
    """Breaks a system call."""
    return functools.partial(break_call, monkeypatch)
