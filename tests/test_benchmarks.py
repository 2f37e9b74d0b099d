"""The comparison of benchmarks with the last page of figures."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def run_all(monkeypatch):
    """Return the module that runs all benchmarks."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("all")


@pytest.fixture
def figure(run_all):
    """Return a ratio of which less is better."""
    return run_all.Figure("backup / pg_dump", 0.5)


@pytest.mark.parametrize(
    ("change", "now", "worse"),
    [
        ({}, 0.57, False),
        ({}, 0.58, True),
        ({}, 0.1, False),
        ({"more_is_better": True}, 0.44, False),
        ({"more_is_better": True}, 0.43, True),
        ({"steady": False}, 5.0, False),
        ({"unit": "ms"}, 5.0, False),
    ],
)
def test_only_steady_ratios_regress(run_all, figure, change, now, worse):
    """A steady ratio that is worse by more than 15 % is named, and nothing else is."""
    last = replace(figure, **change)
    assert run_all.worse({last.name: last}, {last.name: replace(last, value=now)}) == [last.name] * worse


@pytest.mark.parametrize(("more", "best"), [(False, 0.4), (True, 0.6)])
def test_the_best_of_several_counts(run_all, figure, more, best):
    """Of a figure that was measured again, the better value stays."""
    found = [replace(figure, value=value, more_is_better=more) for value in (0.4, 0.6)]
    assert {run_all.better(*found).value, run_all.better(*found[::-1]).value} == {best}


def test_a_goal_is_missed_on_its_own_side(figure):
    """At most and at least are told apart."""
    assert replace(figure, at_most=0.4).missed
    assert not replace(figure, at_most=0.5).missed
    assert replace(figure, at_least=0.6).missed
    assert not replace(figure, at_least=0.5).missed
