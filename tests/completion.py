"""What taskdb answers when a shell asks it for words."""

import pytest

from taskdb_cli.cli.run import run


def ask_for_words(capfd, monkeypatch, shell, *words):
    """Complete the last of some words as a shell has it done, and return what that printed."""
    monkeypatch.setenv("_TASKDB_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", "\n".join(["taskdb", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", " ".join(["taskdb", *words]))
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    monkeypatch.setenv("_TYPER_COMPLETE_WORD_TO_COMPLETE", words[-1])
    with pytest.raises(SystemExit):
        run([])
    printed = capfd.readouterr()
    assert printed.err == ""
    return printed.out.strip("\n")
