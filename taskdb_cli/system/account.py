"""The account that this process runs as."""

import os
import re

from taskdb_cli.text.escaping import BLANK, brief, escape


def system_user() -> str:
    """Return the name of the user of the system, or the number of one who has no name.

    It is at most 200 characters of one line that a person can see, whatever a directory service says.
    """
    import pwd

    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = ""
    return brief(escape(name)) if re.search(f"[^{BLANK}]", name) else str(os.geteuid())
