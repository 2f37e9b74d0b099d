"""How much is logged."""

import logging

from taskdb_cli import logs


def test_the_last_word_counts(taskdb):
    """SQL is logged for -vv only, also by a process that has logged it before."""
    assert "SELECT" in taskdb("-vv", "task", "list").err
    assert taskdb("task", "list").err == ""
    assert taskdb("-v", "user", "list").err == ""


def test_sql_is_logged_without_data(taskdb):
    """The log has neither the parameters of a statement nor the rows that it found."""
    taskdb("user", "create", "--email", "secret@example.com", "--name", "Ann")
    result = taskdb("-vv", "user", "show", "secret@example.com")
    assert "secret@example.com" in result.out
    assert "secret@example.com" not in result.err


def test_quiet_keeps_errors(taskdb):
    """With -q an error is still said, and nothing else."""
    assert taskdb("-q", "migrate").err == ""
    assert taskdb("-q", "user", "show", "99", expect=3).err.startswith("error: ")
    logs.configure(-1)
    assert not logging.getLogger("taskdb").isEnabledFor(logging.WARNING)
