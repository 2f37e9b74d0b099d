"""The command line as a process of its own, for what only a process can show."""

import os
import subprocess
import sys

# The superuser may read and write everything: give that up, as one program's start allows.
WITHOUT_PRIVILEGE = """
import ctypes
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
if os.geteuid() == 0:
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        ctypes.CDLL(None, use_errno=True).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
"""


def limited(size: int) -> str:
    """Return Python after which no file can grow beyond so many bytes, as on a full disk.

    Python ignores the signal that comes with it.
    """
    return f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"


def command(*arguments: object, first: str = "") -> list[str]:
    """Return the arguments of a process that runs some Python first and then becomes taskdb."""
    words = [str(argument) for argument in arguments]
    if not first:
        return [sys.executable, "-m", "taskdb_cli", *words]
    become = "os.execv(sys.executable, [sys.executable, '-m', 'taskdb_cli', *sys.argv[1:]])"
    code = f"import os, sys\n{first}\n{become}"
    return [sys.executable, "-c", code, *words]


def run_process(*arguments: object, first: str = "", **options: object) -> subprocess.CompletedProcess[str]:
    """Run taskdb to its end with nothing on stdin, and return what it left behind."""
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    done = subprocess.run(
        command(*arguments, first=first),
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        **options,
    )
    for noise in ("Traceback", "Timeout ("):
        assert noise not in (done.stderr or ""), done.stderr
    return done
