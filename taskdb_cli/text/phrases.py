"""The words of phrases for times, and guesses of what an unknown phrase means."""

import re
from collections.abc import Iterator
from difflib import get_close_matches

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_IDIOMS = {
    r"(the )?day after tomorrow": "in 2 days",
    r"(the )?day before yesterday": "2 days ago",
    r"(the )?next day": "tomorrow",
    r"(the )?(last|previous) day": "yesterday",
}
_FILLERS = r"\b(on|this|the|of|by|until|due|for)\b"
_DATES = r"\b(?:(\d{4})[./-](\d\d?)[./-](\d\d?)|(\d\d?)([./-])(\d\d?)[./-](\d{4}))\b"
_HOURS_AND_MINUTES = (
    r"((?:in |[+-] ?)?)(\d{1,3}) ?h(?:ours?|rs?)?(?: |,|and\b)*([0-5]?\d) ?(m(?:in(?:ute)?s?)?)?(?!\w)(.*)"
)
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_WORDS = (
    *("yesterday", "today", "tomorrow", *WEEKDAYS, *MONTHS),
    *("noon", "midnight", "now", "next", "last", "end", "from", "ago"),
    *("minutes", "hours", "days", "weeks", "months", "years", "week", "month", "year"),
)


def likely_phrases(words: str) -> Iterator[list[str]]:
    """Yield phrases that may have been meant, the likeliest first. Some are not accepted either."""
    for number, word in enumerate(_NUMBERS, 1):
        words = re.sub(rf"\b{word}\b", str(number), words)
    words = re.sub(r"(?<=\d) ?(?:utc|gmt)$", "z", words)
    words = re.sub(r"\b([ap])\.m\.?(?!\w)", r"\1m", words)
    for idiom, phrase in _IDIOMS.items():
        words = re.sub(rf"\b{idiom}\b", phrase, words)
    yield [words]
    if found := re.fullmatch(_HOURS_AND_MINUTES, words):
        span = f"{found[1]}{int(found[2]) * 60 + int(found[3])}min{found[5]}"
        # Without a unit the second number may be the minutes of a time of day.
        yield [span] if found[4] else [span, f"{found[2]}:{found[3]}"]
    if found := re.fullmatch(r"(?:(.*?\S) )??(?:at )?(\d\d?)", words):
        day, hour = found[1] or "", found[2]
        yield [f"{day} {each}".strip() for each in (f"{hour}am", f"{hour}pm", f"{hour:0>2}:00")]
    yield [re.sub(r"(\d ?)m\b", rf"\1{unit}", words) for unit in ("min", "mo")]
    yield [re.sub(r" (?=[+-]\d\d|z$)", "", words), f"{words}:00", f"{words} days"]
    yield [f"in {words}", f"{words} ago", re.sub(r"^([+-]\d+)$", r"\1d", words)]
    yield [re.sub(r"^\+ ?", "in ", words), re.sub(r"^- ?(.*)", r"\1 ago", words)]
    yield [
        re.sub(r"\b(\d\d?)[.h](\d\d)$", r"\1:\2", words),
        re.sub(r"[t ]\d\d(?=z|[+-])", r"\g<0>:00", words),
    ]
    if found := re.search(_DATES, words):
        year = found[1] or found[7]
        orders = [(found[2], found[3])] if found[1] else [(found[6], found[4]), (found[4], found[6])]
        dates = [f"{year}-{month:0>2}-{day:0>2}" for month, day in orders[: 1 if found[5] == "." else 2]]
        yield [words.replace(found[0], each) for each in dates]
    if found := re.match(r"(\d\d?)[./](\d\d?)[./]?(?= |$)", words):
        orders = [(found[1], found[2]), (found[2], found[1])]
        months = [(day, MONTHS[int(month) - 1]) for day, month in orders if 1 <= int(month) <= len(MONTHS)]
        yield [f"{day} {month}{words[found.end() :]}" for day, month in months]
    text = re.sub(r"\blast (week|month|year)\b", r"1 \1 ago", re.sub(r"[^\w:+ -]", " ", words)).split()
    near = [
        word if word in _WORDS else (get_close_matches(word, _WORDS, 1, 0.8) or [word])[0] for word in text
    ]
    rest = re.sub(_FILLERS, " ", " ".join(near)).split()
    yield [" ".join(near), " ".join(word for word in near if word != "the"), " ".join(rest)]
    yield [" ".join(rest[place:] + rest[:place]) for place in range(1, len(rest))]
    if any(word.startswith(tuple(month[:3] for month in MONTHS)) for word in rest):
        days = (r"\1", "31", "30", "29", "28")
        yield from ([re.sub(r"(\d+)[a-z]*", day, " ".join(rest), count=1)] for day in days)
    # A year behind a day and a month is no time of day, even if there is no such day.
    yield [re.sub(r"(?<= )(\d\d?)(\d\d)$", r"\1:\2", words)]
    yield [" ".join(rest[1:])]
    yield from ([" ".join(rest[:length])] for length in range(len(rest) - 1, 0, -1))
