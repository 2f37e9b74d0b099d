"""The pictures of the documentation, held to what the commands print."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent / ".ci/pictures.py"


def test_pictures_show_what_commands_print():
    """The script makes every picture again as it is, to the byte."""
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
