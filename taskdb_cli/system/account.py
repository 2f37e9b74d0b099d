"""The account that this process runs as."""

import os


def system_user() -> str:
    """Return the name of the user of the system, or the number of one who has no name."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
