"""Make text safe for a person or a log: it must not drive a terminal or show a password.

Any text from outside may do both: names of files, databases and indexes, arguments, messages of a server,
and rows that another program wrote.
"""

import re
from collections.abc import Callable
from unicodedata import category

LONGEST_ECHO = 200
"""The most characters of a caller's value that an error repeats."""

# A text that contains none of these holds no secret. Most texts contain none.
_SIGNS = ("passw", "pwd", "oauth_", "scram_", "postgres", ":/", "@", "taskdb_", "age-secret", "private key")

# The patterns are compiled when they are first used, because most texts need none.
# For speed they skip common letters: ASCII, Latin, Greek, Cyrillic, Kana, Han and Hangul.
_PLAIN = (
    " -~\xa1-\xac\xae-\u034e\u0350-\u0377\u0400-\u052f\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff\uac00-\ud7a3"
)
# The flags of England, Scotland and Wales are written with tags. All other tags hide text.
_TAG_FLAGS = "\U0001f3f4(?:{})\U000e007f".format(
    "|".join("".join(chr(0xE0000 + ord(letter)) for letter in name) for name in ("gbeng", "gbsct", "gbwls"))
)
_SUSPECT = f"{_TAG_FLAGS}|[^{_PLAIN}]"
_SUSPECT_BUT_LINES = f"{_TAG_FLAGS}|[^{_PLAIN}\t\n]"

INVISIBLE = (
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Default_Ignorable_Code_Point in DerivedCoreProperties.txt of Unicode 17, as in a class of a pattern."""

BLANK = f"\\s{INVISIBLE}\u2800\ufff9-\ufffb\U00013430-\U00013442\U0001d159"
"""INVISIBLE, white space, and blanks and marks of layout that are neither, such as braille's."""

_UNSEEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}

# Signs of Arabic, Syriac and Kaithi that have a shape, although Unicode calls them format characters.
_VISIBLE = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")

# Every version of Unicode adds emoji and ideographs, but Python knows only one version.
_GROWING = "[\U0001f000-\U0001fbff\U00020000-\U0002fffd\U00030000-\U0003fffd]"

# After letters of these scripts and after emoji, a joiner changes the shape. Elsewhere it only hides.
_JOINED = (
    "[\u0600-\u109f\u1780-\u18af\u1a20-\u1c4f\u2190-\u2bff\u2d30-\u2d7f\ua800-\uabff\ufb50-\ufdff\ufe0f\ufe70-\ufefc"
    "\U00010a00-\U00011fff\U0001e900-\U0001e95f\U0001f000-\U0001fbff]"
)
# Thai, Lao, Burmese and Khmer have no spaces between words, and Mongolian separates some vowels.
_NEEDED_AFTER = {
    "\u200b": "[\u0e00-\u109f\u1780-\u17ff]",
    "\u200c": _JOINED,
    "\u200d": _JOINED,
    "\u180e": "[\u180b-\u180d\u1820-\u18aa]",
}

# One variation selector chooses the shape of the character before it. Several in a row hide text.
_SELECTED = r"[0-9#*]|[^\s\x00-\x7f]"
_SELECTOR = "[\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]"


def brief(value: object, longest: int = LONGEST_ECHO) -> str:
    """Return a caller's value as an error repeats it. A value that is too long is cut and ends in `…`."""
    text = str(value)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def visible(ref: object) -> str:
    """Return a caller's reference as an error repeats it: in quotes if nothing of it would be visible."""
    return brief(ref) if str(ref).strip() else repr(ref)


def described(value: object) -> str:
    """Return a value of JSON as an error repeats it: a text in quotes, a number, or what kind it is."""
    if isinstance(value, str):
        return repr(brief(value))
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, (int, float)):
        return f"the number {brief(value)}"
    return "a list" if isinstance(value, list) else "an object"


def one_line(text: str) -> str:
    """Return text for one line of output or of a log, without secrets and without line ends."""
    return escape(hide_secrets(text))


def escape(text: str, *, lines: bool = False) -> str:
    r"""Return the text with control characters and invisible characters written as in Python, such as `\x1b`.

    These are the Unicode categories Cc, Cf, Cn, Co, Cs, Zl and Zp, and a few letters and marks without a
    shape. Joiners and variation selectors stay where scripts and emoji need them. With `lines`, tabs and line
    ends stay too.
    """
    if text.isascii() and text.isprintable():
        return text
    text, suspect = (text.replace("\r\n", "\n"), _SUSPECT_BUT_LINES) if lines else (text, _SUSPECT)
    return _escape(text, suspect, lambda hidden: hidden.encode("unicode_escape").decode())


def escape_json(text: str) -> str:
    r"""Return JSON with the same characters written as `\u001b`. Its values stay the same."""
    if text.isascii() and "\x7f" not in text:
        return text
    import json

    return _escape(text, _SUSPECT_BUT_LINES, lambda hidden: json.dumps(hidden)[1:-1])


def _escape(text: str, suspect: str, spell: Callable[[str], str]) -> str:
    return re.sub(suspect, lambda found: found[0] if _is_shown(found) else spell(found[0]), text)


def _is_shown(match: re.Match[str]) -> bool:
    character, before = match[0], match.string[max(match.start() - 1, 0) : match.start()]
    if len(character) > 1:
        return True  # one of the flags
    if character in _NEEDED_AFTER:
        return bool(re.match(_NEEDED_AFTER[character], before))
    if re.match(_SELECTOR, character):
        return bool(re.match(_SELECTED, before)) and before.isprintable() and not re.match(_SELECTOR, before)
    if category(character) in _UNSEEN:
        return character in _VISIBLE or (category(character) == "Cn" and bool(re.match(_GROWING, character)))
    return not re.match(f"[{INVISIBLE}]", character)


def hide_secrets(text: str) -> str:
    """Return the text with *** for each password in a URL or a connection string, access token and key.

    The password of a badly encoded URL may hold any character, so everything between the user and the last @
    before a host is hidden. In doubt it hides too much.
    """
    lowered = text.lower()
    if not any(sign in lowered for sign in _SIGNS):
        return text
    # Compiling its patterns takes some milliseconds, which most commands do not need.
    from taskdb_cli.text.passwords import hide

    return hide(text)
