"""Other processes for tests: they hold files, die at a chosen moment, or lack rights."""

import ctypes
import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

Done = subprocess.CompletedProcess[str]
_CAPSET_VERSION_3 = 0x20080522
_SUPPORT = Path(__file__).parent
# Their code imports helpers, and what the test modules hold.
_ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join(
        str(folder) for folder in (_SUPPORT, *sorted(_SUPPORT.parent.iterdir())) if folder.is_dir()
    )
}


def run(code: str, *arguments: object, first: str = "") -> Done:
    """Run Python code to its end, and `first` before it."""
    return subprocess.run(
        _command(f"{first}\n{textwrap.dedent(code)}", arguments),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=_SUPPORT,
        env=_ENVIRONMENT,
    )


def run_without_privileges(code: str, *arguments: object) -> Done:
    """Run Python code that permissions bind even if the tests run as root."""
    # Given up by the child itself: root gets its privileges back when it executes a program.
    return run(code, *arguments, first="import processes; processes.give_up_privileges()")


def run_on_full_disk(code: str, *arguments: object, size: int) -> Done:
    """Run Python code under which no file can grow beyond `size` bytes."""
    return run(code, *arguments, first=f"import processes; processes.limit_files({size})")


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start Python code, and return when it has printed its first line."""
    process = subprocess.Popen(
        _command(code, arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=_SUPPORT,
        env=_ENVIRONMENT,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def stop(process: subprocess.Popen[str]) -> None:
    """Kill -9, and wait for it."""
    process.kill()
    process.communicate()


def _command(code: str, arguments: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]


def give_up_privileges() -> None:
    """Lose root's right to ignore permissions; other users have nothing to lose."""
    header = (ctypes.c_uint32 * 2)(_CAPSET_VERSION_3, 0)
    if ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)()):
        raise OSError("capset failed")


def limit_files(size: int) -> None:
    """Let no file of this process grow beyond `size` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
