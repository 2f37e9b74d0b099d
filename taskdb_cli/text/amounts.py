"""Counts, sizes and lengths of time as people read them. Each has one form in all texts."""

from collections.abc import Mapping
from datetime import timedelta

_DAY = 86_400
_TIMES = {"y": 365 * _DAY, "mo": 30 * _DAY, "w": 7 * _DAY, "d": _DAY, "h": 3600, "min": 60}
_SIZES = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}


def in_words(rows: Mapping[str, int]) -> str:
    """Return how many there are of each, as a person would say it: 1 user and 1,470 tasks."""
    return " and ".join(f"{number:,} {noun if number != 1 else noun[:-1]}" for noun, number in rows.items())


def without_zeros(rows: Mapping[str, int]) -> dict[str, int]:
    """Return only those of which there are any."""
    return {noun: number for noun, number in rows.items() if number}


def in_one_size(size: float) -> str:
    """Return bytes in the largest decimal unit that fits, such as 62.1 kB."""
    words = (f"{size / one:,.1f} {unit}" for unit, one in _SIZES.items() if size >= one)
    return next(words, in_words({"bytes": int(size)}))


def in_one_unit(length: timedelta | float) -> str:
    """Return a length of time, or seconds, in the largest unit that fits twice, to the nearest one: 4 d."""
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    if 0 < abs(seconds) < 1:
        return f"{seconds * 1000:.0f} ms"
    words = (f"{seconds / one:,.0f} {unit}" for unit, one in _TIMES.items() if abs(seconds) >= 2 * one)
    return next(words, f"{seconds:.0f} s")


def in_age(length: timedelta) -> str:
    """Return how old something is. Of less than a second nobody wants to know more: 0 s."""
    return in_one_unit(int(length.total_seconds()))
