"""Write the README's table of settings and `.env.example` from the table in the code.

`python .ci/settings.py` writes them. With `--check` it exits 1 if they are not up to date.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

from taskdb_cli.config import default_of
from taskdb_cli.system.environment import ONLY_IN_ENVIRONMENT, SETTINGS, Setting

PROJECT = Path(__file__).resolve().parent.parent
HEADER = "| variable | meaning | default |\n|---|---|---|\n"
PREFACE = """\
# Copy this file to .env, in the directory that taskdb runs in or in a parent of it. Remove a # to set one.
# An option of the command line and a variable of the environment win over this file.
# Values are taken as they are: ${NAME} is not expanded. Run 'chmod 600 .env', because it holds passwords.
"""

SERVER = "postgresql://user:password@localhost:5432/taskdb"
NEON = (
    "postgresql://user:password@ep-name-123456{}.eu-central-1.aws.neon.tech/neondb"
    "?sslmode=require&channel_binding=require"
)
EXAMPLES = {
    "TASKDB_DATABASE_URL": SERVER,
    "TASKDB_DIRECT_URL": SERVER,
    "TASKDB_READ_URL": SERVER.replace("localhost", "replica"),
    "DATABASE_URL": NEON.format("-pooler"),
    "DATABASE_URL_UNPOOLED": NEON.format(""),
    "TASKDB_PROFILE": "work",
    "TASKDB_SCHEMA": "taskdb",
    "TASKDB_ACTOR": "ann",
    "TASKDB_POOLED": "0",
    "TASKDB_ALLOW_SPECIAL_DOMAINS": "1",
    "TASKDB_BACKUP_DIR": "/var/backups/taskdb",
    "TASKDB_BACKUP_LABEL": "taskdb",
    "TASKDB_BACKUP_RECIPIENTS": "/etc/taskdb/recipients.txt",
    "TASKDB_BACKUP_IDENTITY": "/media/usb/taskdb-key.txt",
    "TASKDB_HEALTH_LIMITS": "connection=500ms:5s disk=10%:5%",
}
"""What stands in `.env.example` in place of the default."""


def row(name: str, setting: Setting) -> str:
    """Return the variable as a row of a table in Markdown."""
    meaning = setting.help
    if setting.words:
        meaning += ": " + " or ".join(f"`{word}`" for word in setting.words)
    if name in ONLY_IN_ENVIRONMENT:
        meaning += "; read from the environment only"
    value = default_of(name)
    shown = setting.default or (f"`{value}`" if value not in ("", None) else "")
    return f"| `{name}` | {meaning} | {shown} |\n"


def example(name: str, setting: Setting) -> str:
    """Return the variable as it stands in a dotenv file, commented out, below what it means."""
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", setting.help).replace("`", "")
    comment = textwrap.fill(
        f"{plain[0].upper()}{plain[1:]}.", 100, initial_indent="# ", subsequent_indent="# "
    )
    value = EXAMPLES.get(name) or default_of(name)
    return f"\n{comment}\n# {name}={'' if value is None else value}\n"


def main() -> int:
    """Write both files, or compare them; return the exit code."""
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    before, header, after = readme.partition(HEADER)
    rows = "".join(row(*item) for item in SETTINGS.items())
    rest = after[re.match(r"(\|.*\n)*", after).end() :]
    texts = {
        "README.md": before + header + rows + rest,
        ".env.example": PREFACE
        + "".join(example(*item) for item in SETTINGS.items() if item[0] not in ONLY_IN_ENVIRONMENT),
    }
    for name, text in texts.items():
        file = PROJECT / name
        if "--check" not in sys.argv:
            file.write_text(text, encoding="utf-8")
        elif file.read_text(encoding="utf-8") != text:
            print(f"{name} is not up to date: run python .ci/settings.py", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
