"""Find passwords, access tokens and private keys in any text, and hide them."""

import re

HIDDEN = "***"

# Each pattern takes linear time: its repetitions are bounded, or nothing that can fail follows them.
# The name of an archive may look like a token, but a fraction of a second follows it.
_TOKEN = re.compile(r"(?<=taskdb_)[\w-]{43}(?![\w-]|\.\d{6}Z)")

# The private keys that open what age has encrypted.
_AGE_KEY = re.compile(r"(?i)(?<=AGE-SECRET-KEY-)[\w-]+")
_SSH_KEY = re.compile(r"(?s)(?<=PRIVATE KEY-----).*?(?=-----END|\Z)")

# The query of a URL, a connection string of libpq, a shell, or a mapping of Python or JSON.
_KEY = r"(?:password|passwd|pwd|oauth_client_secret|scram_client_key|scram_server_key)"
SECRET = re.compile(f"(?i){_KEY}")
"""Finds the name of a parameter whose value is secret."""
_QUERY = re.compile(rf"(?i)(?<=[?&;])(?P<name>\w{{0,20}}{_KEY}=)[^&]*")
# A quote that is escaped or inside a word does not end the value.
_PARAMETER = re.compile(
    rf"""(?isx) (?P<name> {_KEY} (?: \s*=\s* | \\*["'] \s*:\s* ) ) (?!\*\*\*)
    (?: (?P<quote>\\*["']) .*? (?: (?<!\\)(?P=quote)(?=[,;.)}}\]'"]{{0,5}}(?:\s|\Z)) | \Z )
      | (?:\\.|[^\s\\])*+ )"""
)

# Where another URL begins.
_APART = re.compile(r"""(?<![^\s'"(\[<,;=])(?=[A-Za-z][\w+.-]{0,30}://)""")
# A normalized path has only one slash. A host may be called postgres and have a port.
_URL = re.compile(r"(?i)(?P<server>postgres(?:ql)?(?:\+\w{0,20})?):(?:/+|(?!\d))(?=\S)|:/+(?=\S)")
_NAME = re.compile(r"\[[^\]\s]{0,60}\]|[^:/?#@\s]*")
_SPACE = re.compile(r"\s")
_PORT = re.compile(r":[0-9]{1,5}(?![\w@])")
_HOST_FOLLOWS = re.compile(r"@(?=[\w\[/:.%?-])")

# USER:PASSWORD@HOST/DATABASE.
_WITHOUT_SCHEME = re.compile(
    r"""(?<![^\s'"(=/])([\w.+%-]{1,64}:)(?!/|password@)\S{1,200}(?=@[\w.:\[\]-]{1,100}/)"""
)


def hide(text: str) -> str:
    """Return the text with *** in place of each password, token and private key."""
    text = _TOKEN.sub(HIDDEN, text)
    text = _AGE_KEY.sub(HIDDEN, text)
    text = _SSH_KEY.sub(HIDDEN, text)
    text = _QUERY.sub(rf"\g<name>{HIDDEN}", text)
    text = _PARAMETER.sub(rf"\g<name>{HIDDEN}", text)
    if ":" not in text:
        return text
    text = "".join(map(_hide_in_url, _APART.split(text)))
    return _WITHOUT_SCHEME.sub(rf"\1{HIDDEN}", text)


def _hide_in_url(text: str) -> str:
    last = max((found.start() for found in _HOST_FOLLOWS.finditer(text)), default=-1)
    for url in _URL.finditer(text):
        server, start = bool(url["server"]), _end_of_name(text, url.end())
        named = text[start : start + 1] == "@"
        while server and text[start : start + 1] == "@":
            # There is no password, or the name of the user contains an @, as on Azure.
            start = _end_of_name(text, start + 1)
        mark, is_port = text[start : start + 1], _PORT.match(text, start) is not None
        if mark == ":" and start < last:
            return _without(text, start + 1, last)
        # A sentence may continue after a URL without a password, and contain an e-mail address.
        if server and start < last and not (named and _SPACE.search(text, start, last)):
            return _without(text, url.end(), last)
        if mark == ":" and not is_port:
            # The end of the URL is missing, or the password stands in place of a port.
            space = None if server else _SPACE.search(text, start + 1)
            return _without(text, start + 1, space.start() if space else len(text))
    return text


def _end_of_name(text: str, start: int) -> int:
    found = _NAME.match(text, start)
    return found.end() if found else start


def _without(text: str, start: int, end: int) -> str:
    # Hints show examples with the word "password" itself.
    if text[start:end] in ("", "password"):
        return text
    return f"{text[:start]}{HIDDEN}{text[end:]}"
