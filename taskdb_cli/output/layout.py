"""Which columns of a table a terminal has room for, and how wide they are."""

from collections.abc import Mapping

GAP = 2
"""Cells between two columns."""

ADDRESSES = ("email", "user")
"""Columns whose texts lose their middle in a narrow terminal."""

CUT = ("title", "name", "description", "actor", "command")
"""Columns whose texts lose their end in a narrow terminal."""

FOLDED = ("archive", "reasons", "sha256", "message", "external_id", "restored_from")
"""Columns whose texts take more lines in a narrow terminal: nothing may be missing."""

_LEAST = {
    **dict.fromkeys((*CUT, *FOLDED), 20),
    **dict.fromkeys((*ADDRESSES, "actor", "command"), 12),
}
"""The widths down to which columns give way. All others, such as ids and times, are never cut."""

_GIVING_WAY = (
    *("version", "user_id", "priority", "scope", "is_active", "tasks", "user", "status"),
    *("undoes", "rows", "restored_from"),
)
"""The columns that a narrow terminal does without, the least important one first."""

_WIDEST_ADDRESS = 32


def fit(widths: Mapping[str, int], room: int, *, drop: bool) -> dict[str, int]:
    """Return the columns that fit into so many cells, with the widths that they get.

    `widths` are what the columns would need. With `drop`, columns are left out until all others can be read.
    The sum is more than the room if there is nothing left to give way.
    """
    kept = dict(widths)
    for name in [*(name for name in _GIVING_WAY if drop and name in widths), None]:
        fitted = {each: min(width, _LEAST.get(each, width)) for each, width in kept.items()}
        left = room - sum(fitted.values()) - GAP * (len(fitted) - 1)
        if left >= 0 or name is None:
            break
        del kept[name]
    most = min(room // 5, _WIDEST_ADDRESS)
    # Addresses get a fair share first, then texts all that they need, then addresses the rest.
    for names, limit in ((ADDRESSES, most), ((*FOLDED, *CUT), room), (ADDRESSES, room)):
        for name in names:
            if name in fitted:
                more = max(0, min(left, min(widths[name], limit) - fitted[name]))
                fitted[name] += more
                left -= more
    return fitted
