"""Running `atlas`, inside this process or as one of its own."""

import os
import subprocess
import sys

from atlas_cli.main import atlas
from click.testing import CliRunner, Result
from synthetic import Synthetic

MAIN = "from atlas_cli.main import main; main()"


def run(*arguments: str, on: Synthetic | None = None, input: str | None = None) -> Result:
    """`atlas ARGUMENTS` in this process, on the atlas `on` if one is named."""
    return CliRunner().invoke(
        atlas, arguments, input=input, env=_environment(on), prog_name="atlas"
    )


def start(
    *arguments: str, on: Synthetic | None = None, code: str = "main()"
) -> subprocess.Popen[str]:
    """`atlas ARGUMENTS` as a process, with its three streams piped; `code` calls main()."""
    # Unbuffered, Python takes a write that a closing reader cut short for a complete one.
    changed = {"PYTHONUNBUFFERED": "", "ATLAS_DB": _environment(on)["ATLAS_DB"] or ""}
    return subprocess.Popen(
        [sys.executable, "-c", f"import sys\nfrom atlas_cli.main import main\n{code}", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | changed,
    )


def _environment(on: Synthetic | None) -> dict[str, str | None]:
    return {"ATLAS_DB": str(on.atlas.path) if on else None}
